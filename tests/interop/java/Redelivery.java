import java.util.List;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;

/** How often a message says that it was delivered, whatever ended the deliveries before. */
final class Redelivery {
    private static final String AT_ONCE =
            "jms.redeliveryPolicy.initialRedeliveryDelay=0&jms.redeliveryPolicy.redeliveryDelay=0";

    static void run(Harness h) {
        h.test("redelivery: a rollback counts in the client, and once in the broker when it closes", env -> {
            ActiveMQConnection connection = env.connect(AT_ONCE);
            Session session = Env.transacted(connection);
            Env.send(Env.auto(connection), env.queue(), "x");
            MessageConsumer consumer = session.createConsumer(env.queue());
            for (int i = 1; i <= 3; i++) {
                count(i, Env.receive(consumer));
                session.rollback();
            }
            session.close();
            count(2, Env.receive(Env.auto(connection).createConsumer(env.queue())));
        });
        h.test("redelivery: recover counts for what was received and for nothing else", env -> {
            ActiveMQConnection connection = env.connect(AT_ONCE);
            Session session = Env.client(connection);
            Env.sendMany(session, env.queue(), "m", 4);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 2);
            session.recover();
            Env.receiveMany(consumer, "m", 0, 2);
            session.recover();
            for (int i = 0; i < 4; i++) {
                count(i < 2 ? 3 : 1, Env.receive(consumer));
            }
        });
        h.test("redelivery: a closed consumer tells what it delivered last", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.client(connection);
            Env.sendMany(session, env.queue(), "m", 6);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 2);
            connection.close();
            MessageConsumer again = Env.client(env.connect()).createConsumer(env.queue());
            for (int i = 0; i < 6; i++) {
                count(i < 2 ? 2 : 1, Env.receive(again));
            }
        });
        h.test("redelivery: a consumer that received nothing counts for nothing", env -> {
            Env.sendMany(Env.auto(env.connect()), env.queue(), "m", 5);
            for (int i = 0; i < 3; i++) {
                ActiveMQConnection connection = env.connect();
                Env.client(connection).createConsumer(env.queue());
                Thread.sleep(100);
                connection.close();
            }
            MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.queue());
            for (int i = 0; i < 5; i++) {
                count(1, Env.receive(consumer));
            }
        });
        h.test("redelivery: a lost connection counts for what it had", env -> {
            Env.send(Env.auto(env.connect()), env.queue(), "x");
            for (int i = 1; i <= 3; i++) {
                ActiveMQConnection connection = env.connect();
                MessageConsumer consumer = Env.client(connection).createConsumer(env.queue());
                count(i, Env.receive(consumer));
                Env.cut(connection);
            }
            count(4, Env.receive(Env.auto(env.connect()).createConsumer(env.queue())));
        });
        h.test("redelivery: a durable subscription counts over its subscriber's sessions", env -> {
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session first = Env.client(connection);
            first.createDurableSubscriber(env.topic(), "s").close();
            Env.sendMany(first, env.topic(), "m", 2);
            first.close();
            for (int i = 1; i <= 3; i++) {
                Session session = Env.client(connection);
                MessageConsumer subscriber = session.createDurableSubscriber(env.topic(), "s");
                count(i, Env.receive(subscriber));
                session.close();
            }
            Session session = Env.client(connection);
            MessageConsumer subscriber = session.createDurableSubscriber(env.topic(), "s");
            count(4, Env.receive(subscriber));
            count(1, Env.receive(subscriber));
            subscriber.close();
            session.unsubscribe("s");
        });
        h.test("redelivery: a listener that fails gets it again until it is a dead letter", env -> {
            String text = env.unique("fails");
            ActiveMQConnection connection = env.connect(AT_ONCE + "&jms.redeliveryPolicy.maximumRedeliveries=2");
            LinkedBlockingQueue<Integer> counts = new LinkedBlockingQueue<>();
            Env.auto(connection).createConsumer(env.queue()).setMessageListener(message -> {
                try {
                    counts.add(message.getIntProperty("JMSXDeliveryCount"));
                } catch (Exception e) {
                    counts.add(-1);
                }
                throw new IllegalStateException("thrown on purpose");
            });
            Env.send(Env.auto(env.connect()), env.queue(), text);
            for (int i = 1; i <= 3; i++) {
                Env.equal(i, counts.poll(Env.WAIT_MS, TimeUnit.MILLISECONDS), "count");
            }
            Env.await(() -> env.browse(new org.apache.activemq.command.ActiveMQQueue("ActiveMQ.DLQ")).contains(text),
                    "a dead letter");
            Env.equal(null, counts.poll(Env.QUIET_MS, TimeUnit.MILLISECONDS), "more");
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("redelivery: what came over a reconnect is flagged where it was received", env -> {
            ActiveMQConnection connection = env.connectFailover();
            Session session = Env.client(connection);
            Env.sendMany(session, env.queue(), "m", 3);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 3);
            session.close();
            MessageConsumer again = Env.auto(env.connect()).createConsumer(env.queue());
            for (int i = 0; i < 3; i++) {
                count(2, Env.receive(again));
            }
        });
        h.test("redelivery: a message sent on counts from the beginning", env -> {
            Session session = Env.client(env.connect());
            Env.send(session, env.queue(), "x");
            Session other = Env.client(env.connect());
            Env.receive(other.createConsumer(env.queue()));
            other.close();
            Message message = Env.receive(session.createConsumer(env.queue()));
            count(2, message);
            session.createProducer(env.queue("-2")).send(message);
            count(1, Env.receive(Env.auto(env.connect()).createConsumer(env.queue("-2"))));
        });
    }

    private static void count(int expected, Message message) throws Exception {
        String which = Env.textOf(message);
        Env.equal(expected, message.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount of " + which);
        Env.equal(expected > 1, message.getJMSRedelivered(), "redelivered of " + which);
    }
}
