import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.jms.DeliveryMode;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TopicSubscriber;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;

/** Local transactions. */
final class Transactions {
    static void run(Harness h) {
        h.test("transaction: commit makes sends visible, not before", env -> {
            Session session = Env.transacted(env.connect());
            MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.queue());
            Env.sendMany(session, env.queue(), "m", 10);
            Env.nothing(consumer);
            session.commit();
            Env.receiveMany(consumer, "m", 0, 10);
        });
        h.test("transaction: rollback drops sends", env -> {
            Session session = Env.transacted(env.connect());
            Env.sendMany(session, env.queue(), "dropped", 10);
            session.rollback();
            Env.send(session, env.queue(), "kept");
            session.commit();
            MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.queue());
            Env.receiveTexts(consumer, "kept");
            Env.nothing(consumer);
        });
        h.test("transaction: rollback redelivers in order with flag and count", env -> {
            ActiveMQConnection connection = env.connect("jms.redeliveryPolicy.initialRedeliveryDelay=10");
            Env.sendMany(Env.auto(connection), env.queue(), "m", 5);
            Session session = Env.transacted(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            for (int round = 1; round <= 3; round++) {
                for (int i = 0; i < 5; i++) {
                    Message m = Env.receive(consumer);
                    Env.equal("m" + i, Env.textOf(m), "order");
                    Env.equal(round > 1, m.getJMSRedelivered(), "redelivered in round " + round);
                    Env.equal(round, m.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount");
                }
                if (round < 3) {
                    session.rollback();
                }
            }
            session.commit();
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("transaction: messages received before and after a rollback commit together", env -> {
            ActiveMQConnection connection = env.connect("jms.redeliveryPolicy.initialRedeliveryDelay=10");
            Env.sendMany(Env.auto(connection), env.queue(), "m", 10);
            Session session = Env.transacted(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 3);
            session.rollback();
            Env.receiveMany(consumer, "m", 0, 7);
            session.commit();
            connection.close();
            Env.equal(List.of("m7", "m8", "m9"), env.browse(env.queue()), "rest");
        });
        h.test("transaction: a receive and a send commit as one", env -> {
            ActiveMQConnection connection = env.connect("jms.redeliveryPolicy.initialRedeliveryDelay=10");
            Env.send(Env.auto(connection), env.queue("in"), "x");
            Session session = Env.transacted(connection);
            MessageConsumer consumer = session.createConsumer(env.queue("in"));
            MessageProducer producer = session.createProducer(env.queue("out"));
            Env.receive(consumer);
            producer.send(session.createTextMessage("lost"));
            session.rollback();
            Env.equal(List.of(), env.browse(env.queue("out")), "after rollback");
            Env.receive(consumer);
            producer.send(session.createTextMessage("y"));
            session.commit();
            Env.equal(List.of("y"), env.browse(env.queue("out")), "after commit");
            connection.close();
            Env.equal(List.of(), env.browse(env.queue("in")), "rest");
        });
        h.test("transaction: closing the session without commit drops sends and returns receives", env -> {
            ActiveMQConnection connection = env.connect();
            Env.sendMany(Env.auto(connection), env.queue("in"), "m", 3);
            Session session = Env.transacted(connection);
            Env.receiveMany(session.createConsumer(env.queue("in")), "m", 0, 3);
            Env.send(session, env.queue("out"), "dropped");
            session.close();
            MessageConsumer again = Env.auto(connection).createConsumer(env.queue("in"));
            for (int i = 0; i < 3; i++) {
                Message m = Env.receive(again);
                Env.equal("m" + i, Env.textOf(m), "order");
                Env.check(m.getJMSRedelivered(), "redelivered");
            }
            Env.equal(List.of(), env.browse(env.queue("out")), "sent without commit");
        });
        h.test("transaction: closing the connection without commit rolls back", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.transacted(connection);
            Env.sendMany(session, env.queue(), "m", 3);
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "sent without commit");
        });
        h.test("transaction: a lost connection rolls back", env -> {
            Env.sendMany(Env.auto(env.connect()), env.queue("in"), "m", 3);
            ActiveMQConnection connection = env.connect();
            Session session = Env.transacted(connection);
            Env.receiveMany(session.createConsumer(env.queue("in")), "m", 0, 2);
            Env.sendMany(session, env.queue("out"), "m", 3);
            Env.cut(connection);
            Env.receiveMany(Env.auto(env.connect()).createConsumer(env.queue("in")), "m", 0, 3);
            Env.equal(List.of(), env.browse(env.queue("out")), "sent without commit");
        });
        h.test("transaction: 2,000 sends in one, 500 receives in one", env -> {
            ActiveMQConnection connection = env.connect();
            Session sender = Env.transacted(connection);
            Env.sendMany(sender, env.queue(), "m", 2000);
            sender.commit();
            Session session = Env.transacted(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            for (int i = 0; i < 2000; i += 500) {
                Env.receiveMany(consumer, "m", i, i + 500);
                session.commit();
            }
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("transaction: sessions of one connection are independent", env -> {
            ActiveMQConnection connection = env.connect();
            Session first = Env.transacted(connection);
            Session second = Env.transacted(connection);
            Env.send(first, env.queue(), "first");
            Env.send(second, env.queue(), "second");
            second.commit();
            Env.equal(List.of("second"), env.browse(env.queue()), "after one commit");
            first.rollback();
            Env.equal(List.of("second"), env.browse(env.queue()), "after the rollback");
        });
        h.test("transaction: several queues and a topic in one", env -> {
            ActiveMQConnection connection = env.connect();
            MessageConsumer listener = Env.auto(connection).createConsumer(env.topic());
            Session session = Env.transacted(connection);
            Env.send(session, env.queue("1"), "a", "b");
            Env.send(session, env.topic(), "t");
            Env.send(session, env.queue("2"), "c");
            Env.nothing(listener);
            session.commit();
            Env.receiveTexts(listener, "t");
            Env.equal(List.of("a", "b"), env.browse(env.queue("1")), "first queue");
            Env.equal(List.of("c"), env.browse(env.queue("2")), "second queue");
        });
        h.test("transaction: non-persistent messages take part", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.transacted(connection);
            MessageProducer producer = session.createProducer(env.queue());
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            producer.send(session.createTextMessage("dropped"));
            session.rollback();
            producer.send(session.createTextMessage("1"));
            MessageConsumer consumer = Env.auto(connection).createConsumer(env.queue());
            Env.nothing(consumer);
            session.commit();
            Env.receiveTexts(consumer, "1");
            Env.nothing(consumer);
        });
        h.test("transaction: a durable subscription gets its part at commit", env -> {
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            ActiveMQTopic topic = env.topic();
            Session session = Env.transacted(connection);
            TopicSubscriber subscriber = session.createDurableSubscriber(topic, "sub");
            Env.sendMany(session, topic, "m", 3);
            Env.nothing(subscriber);
            session.commit();
            Env.receiveMany(subscriber, "m", 0, 3);
            session.rollback();
            Env.receiveMany(subscriber, "m", 0, 3);
            session.commit();
            Env.nothing(subscriber);
        });
        h.test("transaction: commit and rollback of nothing", env -> {
            Session session = Env.transacted(env.connect());
            session.commit();
            session.rollback();
            session.createConsumer(env.queue());
            session.commit();
        });
        h.test("transaction: a listener in a transacted session", env -> {
            ActiveMQConnection connection = env.connect("jms.redeliveryPolicy.initialRedeliveryDelay=10");
            Session session = Env.transacted(connection);
            CountDownLatch done = new CountDownLatch(2);
            session.createConsumer(env.queue("in")).setMessageListener(m -> {
                try {
                    Env.send(session, env.queue("out"), Env.textOf(m) + (m.getJMSRedelivered() ? " again" : ""));
                    if (m.getJMSRedelivered()) {
                        session.commit();
                    } else {
                        session.rollback();
                    }
                } catch (Exception e) {
                    throw new RuntimeException(e);
                }
                done.countDown();
            });
            Env.send(Env.auto(env.connect()), env.queue("in"), "x");
            Env.check(done.await(Env.WAIT_MS, TimeUnit.MILLISECONDS), "called twice");
            Env.equal(List.of("x again"), env.browse(env.queue("out")), "committed sends");
        });
        h.test("transaction: prefetched messages beyond the transaction stay at the consumer", env -> {
            ActiveMQConnection connection = env.connect("jms.prefetchPolicy.queuePrefetch=20"
                    + "&jms.redeliveryPolicy.initialRedeliveryDelay=10");
            Env.sendMany(Env.auto(connection), env.queue(), "m", 50);
            Session session = Env.transacted(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            int next = 0;
            for (int round = 0; round < 10; round++) {
                Env.receiveMany(consumer, "m", next, next + 5);
                if (round % 2 == 0) {
                    session.rollback();
                    Env.receiveMany(consumer, "m", next, next + 5);
                }
                session.commit();
                next += 5;
            }
            Env.nothing(consumer);
        });
        h.test("transaction: more receives than the prefetch in one", env -> {
            ActiveMQConnection connection = env.connect("jms.prefetchPolicy.queuePrefetch=5");
            ActiveMQQueue queue = env.queue();
            Env.sendMany(Env.auto(connection), queue, "m", 60);
            Session session = Env.transacted(connection);
            MessageConsumer consumer = session.createConsumer(queue);
            Env.receiveMany(consumer, "m", 0, 60);
            session.commit();
            connection.close();
            Env.equal(List.of(), env.browse(queue), "rest");
        });
    }
}
