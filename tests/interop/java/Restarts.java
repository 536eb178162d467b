import java.util.List;
import java.util.concurrent.CountDownLatch;
import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import javax.jms.TextMessage;
import javax.jms.TopicSubscriber;
import javax.jms.TransactionRolledBackException;
import org.apache.activemq.ActiveMQConnection;

/** What survives an orderly restart of all members, a killed active and a switchover. */
final class Restarts {
    interface Upheaval {
        void happen(Broker broker) throws Exception;
    }

    static void run(Harness h) {
        stored(h, "restart", Broker::restart);
        stored(h, "takeover", Broker::kill);
        stored(h, "switchover", Broker::switchOver);
        goingOn(h, "restart", Broker::restart);
        goingOn(h, "takeover", Broker::kill);
        goingOn(h, "switchover", Broker::switchOver);
    }

    /** What clients that connect afterwards find. One upheaval for many checks: restarts take time. */
    private static void stored(Harness h, String name, Upheaval upheaval) {
        h.test(name + ": what was stored is there afterwards", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            String clientId = env.unique("client");
            sendBefore(env, session, clientId);
            ActiveMQConnection left = env.connect();
            Session open = Env.transacted(left);
            Env.send(open, env.queue(".open"), "never committed");
            Env.receiveMany(open.createConsumer(env.queue(".taken")), "m", 0, 5);
            upheaval.happen(env.broker);
            checkAfter(env, Env.auto(env.connect()), clientId);
        });
    }

    private static void sendBefore(Env env, Session session, String clientId) throws Exception {
        Env.sendMany(session, env.queue(), "m", 100);
        Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 40);
        session.close();
        ActiveMQConnection connection = env.connect();
        Session fresh = Env.auto(connection);
        Env.sendMany(fresh, env.queue(".taken"), "m", 5);
        MessageProducer producer = fresh.createProducer(env.queue(".kinds"));
        TextMessage text = fresh.createTextMessage("text \u20ac");
        text.setStringProperty("name", "value");
        text.setJMSCorrelationID("c");
        text.setJMSReplyTo(env.topic(".reply"));
        producer.send(text, DeliveryMode.PERSISTENT, 8, 0);
        BytesMessage bytes = fresh.createBytesMessage();
        bytes.writeBytes(Messages.big(200_000).getBytes());
        producer.send(bytes);
        MessageProducer volatileOnes = fresh.createProducer(env.queue(".volatile"));
        volatileOnes.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        volatileOnes.send(fresh.createTextMessage("gone"));
        MessageProducer expiring = fresh.createProducer(env.queue(".expiring"));
        expiring.send(fresh.createTextMessage("dead"), DeliveryMode.PERSISTENT, 4, 100);
        expiring.send(fresh.createTextMessage("alive"), DeliveryMode.PERSISTENT, 4, 600_000);
        Session transacted = Env.transacted(connection);
        Env.send(transacted, env.queue(".committed"), "a", "b");
        transacted.commit();
        Session individual = connection.createSession(
                false, org.apache.activemq.ActiveMQSession.INDIVIDUAL_ACKNOWLEDGE);
        Env.sendMany(fresh, env.queue(".gaps"), "m", 9);
        MessageConsumer gaps = individual.createConsumer(env.queue(".gaps"));
        for (int i = 0; i < 9; i++) {
            Message m = Env.receive(gaps);
            if (i % 3 == 1) {
                m.acknowledge();
            }
        }
        ActiveMQConnection durable = env.connectAs(clientId);
        Session durableSession = Env.auto(durable);
        TopicSubscriber subscriber = durableSession.createDurableSubscriber(env.topic(), "sub");
        durableSession.createDurableSubscriber(env.topic(".empty"), "empty").close();
        durableSession.createDurableSubscriber(env.topic(), "removed").close();
        Env.sendMany(fresh, env.topic(), "m", 10);
        Env.receiveMany(subscriber, "m", 0, 4);
        durableSession.unsubscribe("removed");
        durable.close();
        connection.close();
        env.awaitDepth(env.queue(".gaps"), 6);
    }

    private static void checkAfter(Env env, Session session, String clientId) throws Exception {
        Env.receiveMany(session.createConsumer(env.queue()), "m", 40, 100);
        MessageConsumer taken = session.createConsumer(env.queue(".taken"));
        for (int i = 0; i < 5; i++) {
            Message m = Env.receive(taken);
            Env.equal("m" + i, Env.textOf(m), "taken");
            // ActiveMQ forgets the flag with the process; we do not.
            Env.check(env.broker.isReference || m.getJMSRedelivered(), "redelivered");
        }
        MessageConsumer kinds = session.createConsumer(env.queue(".kinds"));
        Message text = Env.receive(kinds);
        Env.equal("text \u20ac", Env.textOf(text), "text");
        Env.equal("value", text.getStringProperty("name"), "property");
        Env.equal("c", text.getJMSCorrelationID(), "JMSCorrelationID");
        Env.equal(env.topic(".reply"), text.getJMSReplyTo(), "JMSReplyTo");
        Env.equal(8, text.getJMSPriority(), "priority");
        BytesMessage bytes = (BytesMessage) Env.receive(kinds);
        byte[] body = new byte[(int) bytes.getBodyLength()];
        bytes.readBytes(body);
        Env.equal(Messages.big(200_000), new String(body), "bytes");
        Env.equal(List.of(), env.browse(env.queue(".volatile")), "non-persistent");
        MessageConsumer expiring = session.createConsumer(env.queue(".expiring"));
        Env.receiveTexts(expiring, "alive");
        Env.nothing(expiring);
        Env.equal(List.of("a", "b"), env.browse(env.queue(".committed")), "committed");
        Env.equal(List.of(), env.browse(env.queue(".open")), "not committed");
        Env.equal(List.of("m0", "m2", "m3", "m5", "m6", "m8"), env.browse(env.queue(".gaps")), "gaps");
        ActiveMQConnection durable = env.connectAs(clientId);
        Session durableSession = Env.auto(durable);
        Env.send(durableSession, env.topic(".empty"), "kept for the empty one");
        TopicSubscriber empty = durableSession.createDurableSubscriber(env.topic(".empty"), "empty");
        Env.receiveTexts(empty, "kept for the empty one");
        TopicSubscriber subscriber = durableSession.createDurableSubscriber(env.topic(), "sub");
        Env.receiveMany(subscriber, "m", 4, 10);
        Env.nothing(subscriber);
        Env.fails(javax.jms.InvalidDestinationException.class, () -> durableSession.unsubscribe("removed"));
    }

    /** What clients notice that are connected through a failover: URI all the time. */
    private static void goingOn(Harness h, String name, Upheaval upheaval) {
        h.test(name + ": connected clients go on", env -> {
            ActiveMQConnection connection = env.connectFailover();
            Session session = Env.auto(connection);
            MessageProducer producer = session.createProducer(env.queue());
            MessageConsumer consumer = session.createConsumer(env.queue("2"));
            TemporaryQueue replies = session.createTemporaryQueue();
            MessageConsumer onReplies = session.createConsumer(replies);
            ActiveMQConnection durable = env.open(Env.factoryTo(env.broker.failoverUrl));
            durable.setClientID(env.unique("client"));
            durable.start();
            TopicSubscriber subscriber = Env.auto(durable).createDurableSubscriber(env.topic(), "sub");
            MessageConsumer listener = session.createConsumer(env.topic());
            Session transacted = Env.transacted(connection);
            MessageProducer inTransaction = transacted.createProducer(env.queue("3"));
            producer.send(session.createTextMessage("m0"));
            Env.send(session, env.topic(), "t0");
            Env.receiveTexts(subscriber, "t0");
            Env.receiveTexts(listener, "t0");
            inTransaction.send(transacted.createTextMessage("m0"));
            upheaval.happen(env.broker);
            producer.send(session.createTextMessage("m1"));
            Env.equal(Queues.numbered(0, 2), env.browse(env.queue()), "queue");
            Env.send(session, env.queue("2"), "x");
            Env.receiveTexts(consumer, "x");
            Env.send(session, replies, "reply");
            Env.receiveTexts(onReplies, "reply");
            Env.await(() -> {
                Env.send(session, env.topic(), "t1");
                return subscriber.receive(200) != null;
            }, "the durable subscriber is back");
            Env.receiveTexts(listener, "t1");
            inTransaction.send(transacted.createTextMessage("m1"));
            transacted.commit();
            Env.equal(Queues.numbered(0, 2), env.browse(env.queue("3")), "transaction replayed");
        });
        h.test(name + ": unacknowledged messages come again, flagged", env -> {
            ActiveMQConnection connection = env.connectFailover();
            Env.sendMany(Env.auto(connection), env.queue(), "m", 3);
            Session session = Env.client(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 3);
            upheaval.happen(env.broker);
            Message last = null;
            for (int i = 0; i < 3; i++) {
                last = Env.receive(consumer);
                Env.equal("m" + i, Env.textOf(last), "order");
                Env.check(env.broker.isReference || last.getJMSRedelivered(), "redelivered");
            }
            last.acknowledge();
            connection.close();
            env.awaitDepth(env.queue(), 0);
        });
        h.test(name + ": a send whose response was lost arrives once", env -> {
            try (Proxy proxy = new Proxy(env.broker)) {
                ActiveMQConnection connection = Env.start(env.open(Env.factoryTo(proxy.failoverUrl())));
                Session session = Env.auto(connection);
                MessageProducer producer = session.createProducer(env.queue());
                producer.send(session.createTextMessage("m0"));
                CountDownLatch lost = proxy.swallowNextResponse();
                Thread sender = new Thread(() -> {
                    try {
                        producer.send(session.createTextMessage("m1"));
                    } catch (Exception e) {
                        throw new RuntimeException(e);
                    }
                });
                sender.setDaemon(true);
                proxy.pauseAfterSwallowing();
                sender.start();
                Proxy.await(lost);
                upheaval.happen(env.broker);
                proxy.resume();
                sender.join(Env.WAIT_MS);
                Env.check(!sender.isAlive(), "the send was answered");
                producer.send(session.createTextMessage("m2"));
                Env.equal(Queues.numbered(0, 3), env.browse(env.queue()), "queue");
                env.closeConnections();
            }
        });
        h.test(name + ": a transaction with receives either commits or comes again", env -> {
            ActiveMQConnection connection = env.connectFailover();
            Env.sendMany(Env.auto(connection), env.queue(), "m", 6);
            Session session = Env.transacted(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 3);
            upheaval.happen(env.broker);
            int next = 3;
            try {
                session.commit();
            } catch (TransactionRolledBackException e) {
                next = 0;
            }
            for (; next < 6; next++) {
                Env.equal("m" + next, Env.receiveText(consumer), "message");
            }
            session.commit();
            connection.close();
            env.awaitDepth(env.queue(), 0);
        });
    }
}
