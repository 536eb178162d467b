import java.util.ArrayList;
import java.util.List;
import javax.jms.DeliveryMode;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.QueueBrowser;
import javax.jms.Session;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;

/** Where messages go that expired or that were given up, and what they look like there. */
final class DeadLetters {
    private static final ActiveMQQueue SHARED = new ActiveMQQueue("ActiveMQ.DLQ");
    private static final String NO_PATIENCE = "jms.redeliveryPolicy.maximumRedeliveries=0"
            + "&jms.redeliveryPolicy.initialRedeliveryDelay=0&jms.redeliveryPolicy.redeliveryDelay=0";

    static void run(Harness h) {
        h.test("dead letter: a poisoned message says why it is one and what it was", env -> {
            String text = env.unique("why");
            poison(env, env.queue(), DeliveryMode.PERSISTENT, 600_000, text);
            ActiveMQMessage dead = await(env, SHARED, text);
            String cause = dead.getStringProperty("dlqDeliveryFailureCause");
            Env.check(cause.startsWith("java.lang.Throwable: "), "an exception: " + cause);
            Env.check(cause.contains("exceeds redelivery policy limit"), "its text: " + cause);
            Env.equal(0L, dead.getJMSExpiration(), "expiration");
            Env.check(dead.getLongProperty("originalExpiration") > System.currentTimeMillis(), "originalExpiration");
            Env.equal(null, dead.getStringProperty("originalDeliveryMode"), "originalDeliveryMode");
            Env.equal(env.queue(), dead.getOriginalDestination(), "original destination");
            Env.equal(SHARED, dead.getJMSDestination(), "destination");
            Env.equal(DeliveryMode.PERSISTENT, dead.getJMSDeliveryMode(), "delivery mode");
            Env.equal(false, dead.getJMSRedelivered(), "redelivered");
        });
        h.test("dead letter: without an expiration the original one is 0", env -> {
            String text = env.unique("for-ever");
            poison(env, env.queue(), DeliveryMode.PERSISTENT, 0, text);
            Env.equal(0L, await(env, SHARED, text).getLongProperty("originalExpiration"), "originalExpiration");
        });
        h.test("dead letter: what is not persistent is dropped", env -> {
            String dropped = env.unique("dropped");
            String kept = env.unique("kept");
            poison(env, env.queue(), DeliveryMode.NON_PERSISTENT, 0, dropped);
            poison(env, env.queue(), DeliveryMode.PERSISTENT, 0, kept);
            await(env, SHARED, kept);
            Env.check(!env.browse(SHARED).contains(dropped), "not there");
        });
        h.test("dead letter: each queue may have one of its own, for all messages", env -> {
            ActiveMQQueue queue = individual(env);
            poison(env, queue, DeliveryMode.NON_PERSISTENT, 0, "x");
            ActiveMQMessage dead = await(env, new ActiveMQQueue("DLQ." + queue.getPhysicalName()), "x");
            Env.equal("NON_PERSISTENT", dead.getStringProperty("originalDeliveryMode"), "originalDeliveryMode");
            Env.equal(DeliveryMode.PERSISTENT, dead.getJMSDeliveryMode(), "delivery mode");
        });
        h.test("dead letter: each topic may have one of its own", env -> {
            ActiveMQTopic topic = new ActiveMQTopic("interop.dlq.individual." + env.unique("t"));
            ActiveMQConnection connection = env.open(env.factory(NO_PATIENCE));
            connection.setClientID(env.unique("client"));
            connection.start();
            Session session = Env.transacted(connection);
            MessageConsumer subscriber = session.createDurableSubscriber(topic, "s");
            Env.send(Env.auto(env.connect()), topic, "x");
            Env.equal("x", Env.receiveText(subscriber), "delivered");
            session.rollback();
            Env.nothing(subscriber);
            ActiveMQMessage dead = await(env, new ActiveMQQueue("DLQ." + topic.getPhysicalName()), "x");
            Env.equal(topic, dead.getOriginalDestination(), "original destination");
            subscriber.close();
            session.unsubscribe("s");
        });
        h.test("dead letter: expired messages are dropped on demand", env -> {
            ActiveMQQueue queue = new ActiveMQQueue("interop.dlq.shared." + env.unique("q"));
            String expired = env.unique("expired");
            String poisoned = env.unique("poisoned");
            Session session = Env.auto(env.connect());
            sendWith(session, queue, DeliveryMode.PERSISTENT, 50, expired);
            Thread.sleep(100);
            Env.nothing(session.createConsumer(queue));
            session.close();
            poison(env, queue, DeliveryMode.NON_PERSISTENT, 0, poisoned);
            await(env, SHARED, poisoned);
            Env.check(!env.browse(SHARED).contains(expired), "not there");
        });
        h.test("dead letter: all are dropped on demand", env -> {
            ActiveMQQueue queue = new ActiveMQQueue("interop.dlq.discarding." + env.unique("q"));
            String dropped = env.unique("dropped");
            poison(env, queue, DeliveryMode.PERSISTENT, 0, dropped);
            String kept = env.unique("kept");
            poison(env, env.queue(), DeliveryMode.PERSISTENT, 0, kept);
            await(env, SHARED, kept);
            Env.check(!env.browse(SHARED).contains(dropped), "not there");
            Env.equal(List.of(), env.browse(queue), "rest");
        });
        h.test("dead letter: what expires unconsumed is found in its queue's own time", env -> {
            ActiveMQQueue queue = new ActiveMQQueue("interop.queue.expiry." + env.unique("q"));
            String text = env.unique("late");
            sendWith(Env.auto(env.connect()), queue, DeliveryMode.PERSISTENT, 100, text);
            ActiveMQMessage dead = await(env, SHARED, text);
            String cause = dead.getStringProperty("dlqDeliveryFailureCause");
            long expiration = dead.getLongProperty("originalExpiration");
            Env.equal("java.lang.Throwable: Message Expired. Expiration:" + expiration, cause, "cause");
            Env.equal(List.of(), env.browse(queue), "rest");
        });
        h.test("dead letter: what two durable subscribers give up is there once", env -> {
            String text = env.unique("twice");
            ActiveMQConnection connection = env.open(env.factory(NO_PATIENCE));
            connection.setClientID(env.unique("client"));
            connection.start();
            List<Session> sessions = new ArrayList<>();
            List<MessageConsumer> subscribers = new ArrayList<>();
            for (String name : List.of("a", "b")) {
                Session session = Env.transacted(connection);
                sessions.add(session);
                subscribers.add(session.createDurableSubscriber(env.topic(), name));
            }
            Env.send(Env.auto(env.connect()), env.topic(), text);
            for (int i = 0; i < 2; i++) {
                Env.equal(text, Env.receiveText(subscribers.get(i)), "delivered");
                sessions.get(i).rollback();
                Env.nothing(subscribers.get(i));
            }
            await(env, SHARED, text);
            Env.equal(1L, env.browse(SHARED).stream().filter(text::equals).count(), "copies");
            for (int i = 0; i < 2; i++) {
                subscribers.get(i).close();
                sessions.get(i).unsubscribe(List.of("a", "b").get(i));
            }
        });
        h.test("dead letter: what is given up in the dead letter queue is gone", env -> {
            ActiveMQConnection connection = env.connect(NO_PATIENCE);
            Session session = Env.transacted(connection);
            String loop = env.unique("loop");
            Session sender = Env.auto(connection);
            TextMessage message = sender.createTextMessage(loop);
            message.setJMSType(loop);
            sender.createProducer(SHARED).send(message);
            MessageConsumer consumer = session.createConsumer(SHARED, "JMSType = '" + loop + "'");
            Env.equal(loop, Env.receiveText(consumer), "delivered");
            session.rollback();
            Env.nothing(consumer);
            Env.await(() -> !env.browse(SHARED).contains(loop), "gone");
        });
        h.test("dead letter: they come in the order in which they were given up", env -> {
            ActiveMQQueue queue = individual(env);
            ActiveMQConnection connection = env.connect(NO_PATIENCE);
            Session session = Env.transacted(connection);
            Env.sendMany(Env.auto(connection), queue, "m", 50);
            MessageConsumer consumer = session.createConsumer(queue);
            for (int i = 0; i < 50; i++) {
                Env.equal("m" + i, Env.receiveText(consumer), "delivered");
                session.rollback();
            }
            Env.nothing(consumer);
            ActiveMQQueue dlq = new ActiveMQQueue("DLQ." + queue.getPhysicalName());
            Env.receiveMany(Env.auto(connection).createConsumer(dlq), "m", 0, 50);
        });
        h.test("dead letter: advisories tell of them and of expired messages", env -> {
            ActiveMQQueue queue = env.queue();
            Session session = Env.auto(env.connect());
            String about = "Queue." + queue.getPhysicalName();
            MessageConsumer expired = session.createConsumer(session.createTopic("ActiveMQ.Advisory.Expired." + about));
            MessageConsumer dead = session.createConsumer(session.createTopic("ActiveMQ.Advisory.MessageDLQd." + about));
            poison(env, queue, DeliveryMode.PERSISTENT, 0, env.unique("poisoned"));
            ActiveMQMessage told = (ActiveMQMessage) Env.receive(dead);
            Env.check(told.getDataStructure() instanceof ActiveMQMessage, "the message");
            Env.nothing(expired);
            sendWith(session, queue, DeliveryMode.PERSISTENT, 50, env.unique("expired"));
            Thread.sleep(100);
            Env.nothing(session.createConsumer(queue));
            told = (ActiveMQMessage) Env.receive(expired);
            ActiveMQMessage payload = (ActiveMQMessage) told.getDataStructure();
            Env.equal(payload.getMessageId().toString(), told.getStringProperty("orignalMessageId"), "its id");
            Env.check(payload.getContent() == null, "no body");
            Env.receive(dead);
        });
        h.test("dead letter: a browser does not show what has expired", env -> {
            Session session = Env.auto(env.connect());
            sendWith(session, env.queue(), DeliveryMode.PERSISTENT, 100, "gone");
            Env.send(session, env.queue(), "there");
            Env.await(() -> env.browse(env.queue()).equals(List.of("there")), "only one");
        });
    }

    private static ActiveMQQueue individual(Env env) {
        return new ActiveMQQueue("interop.dlq.individual." + env.unique("q"));
    }

    private static void sendWith(Session session, Queue queue, int mode, long timeToLive, String text) throws Exception {
        MessageProducer producer = session.createProducer(queue);
        producer.setDeliveryMode(mode);
        producer.setTimeToLive(timeToLive);
        producer.send(session.createTextMessage(text));
        producer.close();
    }

    /** Sends a message and gives it up. */
    private static void poison(Env env, Queue queue, int mode, long timeToLive, String text) throws Exception {
        ActiveMQConnection connection = env.connect(NO_PATIENCE);
        Session session = Env.transacted(connection);
        MessageConsumer consumer = session.createConsumer(queue);
        sendWith(Env.auto(connection), queue, mode, timeToLive, text);
        Env.equal(text, Env.receiveText(consumer), "delivered");
        session.rollback();
        Env.nothing(consumer);
        connection.close();
    }

    /** The message with this text, once a browser sees it. */
    private static ActiveMQMessage await(Env env, ActiveMQQueue queue, String text) throws Exception {
        Session session = Env.auto(env.connect());
        List<ActiveMQMessage> found = new ArrayList<>();
        Env.await(() -> {
            QueueBrowser browser = session.createBrowser(queue);
            var all = browser.getEnumeration();
            while (all.hasMoreElements()) {
                Message message = (Message) all.nextElement();
                if (text.equals(Env.textOf(message))) {
                    found.add((ActiveMQMessage) message);
                }
            }
            browser.close();
            return !found.isEmpty();
        }, text + " in " + queue);
        session.close();
        return found.get(0);
    }
}
