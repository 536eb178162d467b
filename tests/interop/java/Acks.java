import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQSession;
import org.apache.activemq.command.ActiveMQQueue;

/** Acknowledgement modes, redelivery, and what happens to messages whose consumer goes away. */
final class Acks {
    static void run(Harness h) {
        h.test("ack: AUTO_ACKNOWLEDGE consumes with receive", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            Env.sendMany(session, env.queue(), "m", 20);
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 20);
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("ack: AUTO_ACKNOWLEDGE consumes with a listener", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            LinkedBlockingQueue<String> got = new LinkedBlockingQueue<>();
            CountDownLatch all = new CountDownLatch(50);
            session.createConsumer(env.queue()).setMessageListener(m -> {
                try {
                    got.add(Env.textOf(m));
                } catch (Exception e) {
                    got.add(e.toString());
                }
                all.countDown();
            });
            Env.sendMany(Env.auto(connection), env.queue(), "m", 50);
            Env.check(all.await(Env.WAIT_MS, TimeUnit.MILLISECONDS), "all came");
            for (int i = 0; i < 50; i++) {
                Env.equal("m" + i, got.poll(), "order");
            }
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("ack: a listener that throws gets the message again, flagged", env -> {
            Session session = Env.auto(env.connect("jms.redeliveryPolicy.initialRedeliveryDelay=50"));
            LinkedBlockingQueue<Message> got = new LinkedBlockingQueue<>();
            AtomicInteger calls = new AtomicInteger();
            session.createConsumer(env.queue()).setMessageListener(m -> {
                got.add(m);
                if (calls.incrementAndGet() == 1) {
                    throw new RuntimeException("thrown on purpose");
                }
            });
            Env.send(Env.auto(env.connect()), env.queue(), "x");
            Env.check(got.poll(Env.WAIT_MS, TimeUnit.MILLISECONDS) != null, "delivered");
            Message second = got.poll(Env.WAIT_MS, TimeUnit.MILLISECONDS);
            Env.check(second != null, "delivered again");
            Env.check(second.getJMSRedelivered(), "redelivered");
            Env.equal(2, second.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount");
        });
        h.test("ack: CLIENT_ACKNOWLEDGE covers everything received so far", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.client(connection);
            Env.sendMany(session, env.queue(), "m", 6);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 3);
            Env.receive(consumer).acknowledge();
            connection.close();
            Env.equal(List.of("m4", "m5"), env.browse(env.queue()), "rest");
        });
        h.test("ack: CLIENT_ACKNOWLEDGE without acknowledge returns all, flagged, when the session closes", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.client(connection);
            Env.sendMany(session, env.queue(), "m", 4);
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 4);
            session.close();
            MessageConsumer again = Env.auto(connection).createConsumer(env.queue());
            for (int i = 0; i < 4; i++) {
                Message m = Env.receive(again);
                Env.equal("m" + i, Env.textOf(m), "order");
                Env.check(m.getJMSRedelivered(), "redelivered");
                Env.equal(2, m.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount");
            }
        });
        h.test("ack: recover redelivers in order with flag and count", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.client(connection);
            Env.sendMany(session, env.queue(), "m", 5);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 3);
            session.recover();
            for (int i = 0; i < 5; i++) {
                Message m = Env.receive(consumer);
                Env.equal("m" + i, Env.textOf(m), "order");
                Env.equal(i < 3, m.getJMSRedelivered(), "redelivered of " + i);
                Env.equal(i < 3 ? 2 : 1, m.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount of " + i);
                m.acknowledge();
            }
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("ack: CLIENT_ACKNOWLEDGE beyond the prefetch keeps flowing", env -> {
            ActiveMQConnection connection = env.connect("jms.prefetchPolicy.queuePrefetch=10");
            Session session = Env.client(connection);
            Env.sendMany(session, env.queue(), "m", 100);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 99);
            Env.receive(consumer).acknowledge();
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("ack: DUPS_OK_ACKNOWLEDGE consumes from a queue", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = connection.createSession(false, Session.DUPS_OK_ACKNOWLEDGE);
            Env.sendMany(session, env.queue(), "m", 300);
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 300);
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("ack: DUPS_OK_ACKNOWLEDGE consumes from a topic", env -> {
            ActiveMQConnection connection = env.connect("jms.prefetchPolicy.topicPrefetch=20");
            Session session = connection.createSession(false, Session.DUPS_OK_ACKNOWLEDGE);
            MessageConsumer consumer = session.createConsumer(env.topic());
            Env.sendMany(session, env.topic(), "m", 200);
            Env.receiveMany(consumer, "m", 0, 200);
        });
        h.test("ack: INDIVIDUAL_ACKNOWLEDGE removes single messages", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = connection.createSession(false, ActiveMQSession.INDIVIDUAL_ACKNOWLEDGE);
            Env.sendMany(session, env.queue(), "m", 5);
            MessageConsumer consumer = session.createConsumer(env.queue());
            for (int i = 0; i < 5; i++) {
                Message m = Env.receive(consumer);
                if (i == 1 || i == 3) {
                    m.acknowledge();
                }
            }
            session.close();
            MessageConsumer again = Env.auto(connection).createConsumer(env.queue());
            for (String text : List.of("m0", "m2", "m4")) {
                Message m = Env.receive(again);
                Env.equal(text, Env.textOf(m), "order");
                Env.check(m.getJMSRedelivered(), "redelivered");
            }
            Env.nothing(again);
        });
        h.test("ack: optimizeAcknowledge consumes everything", env -> {
            ActiveMQConnection connection =
                    env.connect("jms.optimizeAcknowledge=true&jms.prefetchPolicy.queuePrefetch=100");
            Session session = Env.auto(connection);
            Session sender = Env.transacted(connection);
            Env.sendMany(sender, env.queue(), "m", 1000);
            sender.commit();
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 1000);
            consumer.close();
            connection.close();
            env.awaitDepth(env.queue(), 0);
        });
        h.test("ack: a closing consumer returns its messages in order, flagging those received", env -> {
            ActiveMQConnection connection = env.connect("jms.prefetchPolicy.queuePrefetch=10");
            Session session = Env.client(connection);
            Env.sendMany(session, env.queue(), "m", 10);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 3);
            session.close();
            MessageConsumer again = Env.auto(env.connect()).createConsumer(env.queue());
            for (int i = 0; i < 10; i++) {
                Message m = Env.receive(again);
                Env.equal("m" + i, Env.textOf(m), "order");
                Env.equal(i < 3, m.getJMSRedelivered(), "redelivered of " + i);
            }
        });
        h.test("ack: messages only prefetched come back unflagged", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            Env.sendMany(session, env.queue(), "m", 10);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 1);
            consumer.close();
            MessageConsumer again = session.createConsumer(env.queue());
            for (int i = 1; i < 10; i++) {
                Message m = Env.receive(again);
                Env.equal("m" + i, Env.textOf(m), "order");
                Env.equal(false, m.getJMSRedelivered(), "redelivered of " + i);
            }
        });
        h.test("ack: returned messages come before newer ones", env -> {
            ActiveMQConnection first = env.connect("jms.prefetchPolicy.queuePrefetch=5");
            Session sender = Env.auto(env.connect());
            Env.sendMany(sender, env.queue(), "m", 5);
            Session session = Env.client(first);
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 5);
            Env.send(sender, env.queue(), "m5", "m6");
            first.close();
            Env.receiveMany(sender.createConsumer(env.queue()), "m", 0, 7);
        });
        h.test("ack: a lost connection returns its messages in order", env -> {
            ActiveMQConnection first = env.connect();
            Session session = Env.client(first);
            Env.sendMany(session, env.queue(), "m", 8);
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 4);
            Env.cut(first);
            MessageConsumer again = Env.auto(env.connect()).createConsumer(env.queue());
            for (int i = 0; i < 8; i++) {
                Message m = Env.receive(again);
                Env.equal("m" + i, Env.textOf(m), "order");
                if (i < 4) {
                    Env.check(m.getJMSRedelivered(), "redelivered of " + i);
                }
            }
        });
        h.test("ack: delivery count grows with every return", env -> {
            Env.send(Env.auto(env.connect()), env.queue(), "x");
            for (int i = 1; i <= 4; i++) {
                ActiveMQConnection connection = env.connect();
                Message m = Env.receive(Env.client(connection).createConsumer(env.queue()));
                Env.equal(i, m.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount");
                Env.equal(i > 1, m.getJMSRedelivered(), "redelivered");
                connection.close();
            }
        });
        h.test("ack: a poison message leaves its queue for the dead letter queue", env -> {
            ActiveMQConnection connection = env.connect("jms.redeliveryPolicy.maximumRedeliveries=1"
                    + "&jms.redeliveryPolicy.initialRedeliveryDelay=10");
            Session session = Env.transacted(connection);
            String text = env.unique("poison");
            Env.send(session, env.queue(), text);
            session.commit();
            MessageConsumer consumer = session.createConsumer(env.queue());
            for (int i = 0; i < 2; i++) {
                Env.equal(text, Env.receiveText(consumer), "delivery " + i);
                session.rollback();
            }
            Env.nothing(consumer);
            Env.equal(List.of(), env.browse(env.queue()), "rest");
            Env.await(() -> env.browse(new ActiveMQQueue("ActiveMQ.DLQ")).contains(text), "in the dead letter queue");
        });
        h.test("ack: asynchronous sends all arrive", env -> {
            ActiveMQConnection connection = env.connect("jms.useAsyncSend=true");
            Session session = Env.auto(connection);
            Env.sendMany(session, env.queue(), "m", 2000);
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 2000);
        });
        h.test("ack: a producer window limits and never blocks for good", env -> {
            ActiveMQConnection connection = env.connect("jms.useAsyncSend=true&jms.producerWindowSize=20000");
            Session session = Env.auto(connection);
            MessageProducer producer = session.createProducer(env.queue());
            for (int i = 0; i < 1000; i++) {
                producer.send(session.createTextMessage("m" + i + Messages.big(i)));
            }
            MessageConsumer consumer = session.createConsumer(env.queue());
            for (int i = 0; i < 1000; i++) {
                Env.equal("m" + i + Messages.big(i), Env.receiveText(consumer), "message " + i);
            }
        });
        h.test("ack: onMessage of two sessions run at the same time", env -> {
            ActiveMQConnection connection = env.connect("jms.prefetchPolicy.queuePrefetch=1");
            CountDownLatch both = new CountDownLatch(2);
            AtomicInteger met = new AtomicInteger();
            for (int i = 0; i < 2; i++) {
                Env.auto(connection).createConsumer(env.queue()).setMessageListener(m -> {
                    both.countDown();
                    try {
                        if (both.await(Env.WAIT_MS, TimeUnit.MILLISECONDS)) {
                            met.incrementAndGet();
                        }
                    } catch (InterruptedException e) {
                        Thread.currentThread().interrupt();
                    }
                });
            }
            Env.send(Env.auto(env.connect()), env.queue(), "1", "2");
            Env.await(() -> met.get() == 2, "both listeners were called together");
        });
    }
}
