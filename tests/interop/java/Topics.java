import java.util.ArrayList;
import java.util.List;
import javax.jms.DeliveryMode;
import javax.jms.InvalidDestinationException;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TopicSubscriber;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQTopic;

/** Topics and durable subscriptions. */
final class Topics {
    static void run(Harness h) {
        h.test("topic: every subscriber gets every message in order", env -> {
            List<MessageConsumer> consumers = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                consumers.add(Env.auto(env.connect()).createConsumer(env.topic()));
            }
            Env.sendMany(Env.auto(env.connect()), env.topic(), "m", 100);
            for (MessageConsumer consumer : consumers) {
                Env.receiveMany(consumer, "m", 0, 100);
                Env.nothing(consumer);
            }
        });
        h.test("topic: a late subscriber sees nothing of before", env -> {
            Session session = Env.auto(env.connect());
            Env.sendMany(session, env.topic(), "early", 5);
            MessageConsumer consumer = session.createConsumer(env.topic());
            Env.nothing(consumer);
            Env.send(session, env.topic(), "now");
            Env.receiveTexts(consumer, "now");
        });
        h.test("topic: a slow subscriber with a small prefetch misses nothing", env -> {
            MessageConsumer slow =
                    Env.auto(env.connect("jms.prefetchPolicy.topicPrefetch=10")).createConsumer(env.topic());
            MessageConsumer fast = Env.auto(env.connect()).createConsumer(env.topic());
            Session sender = Env.transacted(env.connect());
            Env.sendMany(sender, env.topic(), "m", 3000);
            sender.commit();
            Env.receiveMany(fast, "m", 0, 3000);
            Env.receiveMany(slow, "m", 0, 3000);
        });
        h.test("topic: non-persistent messages fan out", env -> {
            MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.topic());
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(env.topic());
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            for (int i = 0; i < 500; i++) {
                producer.send(session.createTextMessage("m" + i));
            }
            Env.receiveMany(consumer, "m", 0, 500);
        });
        h.test("topic: noLocal hides the messages of the own connection", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            MessageConsumer consumer = session.createConsumer(env.topic(), null, true);
            Env.send(session, env.topic(), "own");
            Env.send(Env.auto(connection), env.topic(), "own too");
            Env.send(Env.auto(env.connect()), env.topic(), "foreign");
            Env.receiveTexts(consumer, "foreign");
            Env.nothing(consumer);
        });
        h.test("topic: CLIENT_ACKNOWLEDGE and recover", env -> {
            Session session = Env.client(env.connect());
            MessageConsumer consumer = session.createConsumer(env.topic());
            Env.sendMany(Env.auto(env.connect()), env.topic(), "m", 5);
            Env.receiveMany(consumer, "m", 0, 3);
            session.recover();
            Env.receiveMany(consumer, "m", 0, 4);
            Env.receive(consumer).acknowledge();
            Env.nothing(consumer);
        });
        h.test("durable: backlog of an absent subscriber", env -> {
            String id = env.unique("client");
            ActiveMQConnection connection = env.connectAs(id);
            Env.auto(connection).createDurableSubscriber(env.topic(), "sub").close();
            connection.close();
            Env.sendMany(Env.auto(env.connect()), env.topic(), "m", 50);
            ActiveMQConnection again = env.connectAs(id);
            TopicSubscriber subscriber = Env.auto(again).createDurableSubscriber(env.topic(), "sub");
            Env.receiveMany(subscriber, "m", 0, 50);
            Env.nothing(subscriber);
            again.close();
            TopicSubscriber third = Env.auto(env.connectAs(id)).createDurableSubscriber(env.topic(), "sub");
            Env.nothing(third);
        });
        h.test("durable: resubscribing goes on where it was left", env -> {
            String id = env.unique("client");
            Session sender = Env.auto(env.connect());
            int next = 0;
            for (int round = 0; round < 4; round++) {
                ActiveMQConnection connection = env.connectAs(id);
                TopicSubscriber subscriber = Env.auto(connection).createDurableSubscriber(env.topic(), "sub");
                for (int i = 0; i < 10; i++) {
                    Env.send(sender, env.topic(), "m" + (round * 10 + i));
                }
                // Half of what came is left for the next round.
                int until = round == 3 ? 40 : next + 5;
                Env.receiveMany(subscriber, "m", next, until);
                next = until;
                connection.close();
            }
        });
        h.test("durable: a long backlog is delivered in order", env -> {
            String id = env.unique("client");
            ActiveMQConnection connection = env.connectAs(id);
            Env.auto(connection).createDurableSubscriber(env.topic(), "sub").close();
            Session sender = Env.transacted(connection);
            Env.sendMany(sender, env.topic(), "m", 2000);
            sender.commit();
            TopicSubscriber subscriber = Env.auto(connection).createDurableSubscriber(env.topic(), "sub");
            Env.receiveMany(subscriber, "m", 0, 2000);
            Env.nothing(subscriber);
        });
        h.test("durable: two subscriptions are independent", env -> {
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session session = Env.auto(connection);
            TopicSubscriber one = session.createDurableSubscriber(env.topic(), "one");
            session.createDurableSubscriber(env.topic(), "two").close();
            Env.sendMany(session, env.topic(), "m", 5);
            Env.receiveMany(one, "m", 0, 5);
            TopicSubscriber two = session.createDurableSubscriber(env.topic(), "two");
            Env.receiveMany(two, "m", 0, 5);
            Env.nothing(one);
        });
        h.test("durable: same name with two client ids is two subscriptions", env -> {
            ActiveMQConnection first = env.connectAs(env.unique("client1"));
            ActiveMQConnection second = env.connectAs(env.unique("client2"));
            TopicSubscriber one = Env.auto(first).createDurableSubscriber(env.topic(), "sub");
            TopicSubscriber two = Env.auto(second).createDurableSubscriber(env.topic(), "sub");
            Env.send(Env.auto(first), env.topic(), "x");
            Env.receiveTexts(one, "x");
            Env.receiveTexts(two, "x");
        });
        h.test("durable: unacknowledged messages come again, flagged", env -> {
            String id = env.unique("client");
            ActiveMQConnection connection = env.connectAs(id);
            TopicSubscriber subscriber = Env.client(connection).createDurableSubscriber(env.topic(), "sub");
            Env.sendMany(Env.auto(env.connect()), env.topic(), "m", 5);
            Env.receiveMany(subscriber, "m", 0, 3);
            connection.close();
            TopicSubscriber again = Env.auto(env.connectAs(id)).createDurableSubscriber(env.topic(), "sub");
            for (int i = 0; i < 5; i++) {
                Message m = Env.receive(again);
                Env.equal("m" + i, Env.textOf(m), "order");
                if (i < 3) {
                    Env.check(m.getJMSRedelivered(), "redelivered of " + i);
                }
            }
        });
        h.test("durable: acknowledging one session's messages leaves the rest", env -> {
            String id = env.unique("client");
            ActiveMQConnection connection = env.connectAs(id);
            TopicSubscriber subscriber = Env.client(connection).createDurableSubscriber(env.topic(), "sub");
            Env.sendMany(Env.auto(env.connect()), env.topic(), "m", 10);
            Env.receiveMany(subscriber, "m", 0, 3);
            Env.receive(subscriber).acknowledge();
            Env.receiveMany(subscriber, "m", 4, 7);
            connection.close();
            TopicSubscriber again = Env.auto(env.connectAs(id)).createDurableSubscriber(env.topic(), "sub");
            Env.receiveMany(again, "m", 4, 10);
        });
        h.test("durable: unsubscribe forgets the backlog", env -> {
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session session = Env.auto(connection);
            session.createDurableSubscriber(env.topic(), "sub").close();
            Env.sendMany(session, env.topic(), "m", 5);
            session.unsubscribe("sub");
            TopicSubscriber again = session.createDurableSubscriber(env.topic(), "sub");
            Env.nothing(again);
            Env.send(session, env.topic(), "x");
            Env.receiveTexts(again, "x");
        });
        h.test("durable: another topic replaces the subscription", env -> {
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session session = Env.auto(connection);
            ActiveMQTopic before = env.topic(".before");
            ActiveMQTopic after = env.topic(".after");
            session.createDurableSubscriber(before, "sub").close();
            Env.send(session, before, "old");
            TopicSubscriber subscriber = session.createDurableSubscriber(after, "sub");
            Env.send(session, before, "older");
            Env.nothing(subscriber);
            Env.send(session, after, "new");
            Env.receiveTexts(subscriber, "new");
            subscriber.close();
            TopicSubscriber back = session.createDurableSubscriber(before, "sub");
            Env.nothing(back);
        });
        h.test("durable: a subscription in use cannot be taken or removed", env -> {
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session session = Env.auto(connection);
            TopicSubscriber subscriber = session.createDurableSubscriber(env.topic(), "sub");
            Env.fails(JMSException.class, () -> Env.auto(connection).createDurableSubscriber(env.topic(), "sub"));
            Env.fails(JMSException.class, () -> session.unsubscribe("sub"));
            Env.send(session, env.topic(), "x");
            Env.receiveTexts(subscriber, "x");
        });
        h.test("durable: unsubscribing an unknown name fails", env -> {
            Session session = Env.auto(env.connectAs(env.unique("client")));
            Env.fails(InvalidDestinationException.class, () -> session.unsubscribe("nobody"));
        });
        h.test("durable: noLocal", env -> {
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session session = Env.auto(connection);
            TopicSubscriber subscriber = session.createDurableSubscriber(env.topic(), "sub", null, true);
            Env.send(session, env.topic(), "own");
            Env.send(Env.auto(env.connect()), env.topic(), "foreign");
            Env.receiveTexts(subscriber, "foreign");
            Env.nothing(subscriber);
        });
        h.test("durable: non-persistent messages reach a present subscriber", env -> {
            Session session = Env.auto(env.connectAs(env.unique("client")));
            TopicSubscriber subscriber = session.createDurableSubscriber(env.topic(), "sub");
            MessageProducer producer = session.createProducer(env.topic());
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            for (int i = 0; i < 20; i++) {
                producer.send(session.createTextMessage("m" + i));
            }
            Env.receiveMany(subscriber, "m", 0, 20);
        });
        h.test("durable: expired messages of the backlog are not delivered", env -> {
            Session session = Env.auto(env.connectAs(env.unique("client")));
            session.createDurableSubscriber(env.topic(), "sub").close();
            MessageProducer producer = session.createProducer(env.topic());
            producer.send(session.createTextMessage("dead"), DeliveryMode.PERSISTENT, 4, 100);
            producer.send(session.createTextMessage("alive"));
            Thread.sleep(400);
            TopicSubscriber subscriber = session.createDurableSubscriber(env.topic(), "sub");
            Env.receiveTexts(subscriber, "alive");
            Env.nothing(subscriber);
        });
        h.test("durable: a lost connection frees the subscription", env -> {
            String id = env.unique("client");
            ActiveMQConnection connection = env.connectAs(id);
            Env.auto(connection).createDurableSubscriber(env.topic(), "sub");
            Env.cut(connection);
            Env.send(Env.auto(env.connect()), env.topic(), "x");
            Env.await(() -> {
                try {
                    env.connectAs(id);
                    return true;
                } catch (JMSException e) {
                    return false;
                }
            }, "the client id is free");
        });
    }
}
