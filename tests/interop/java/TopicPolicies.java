import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQTopic;

/** Selectors and wildcards on topics and durable subscriptions, what topics keep of the past, and limits for slow consumers. */
final class TopicPolicies {
    static void run(Harness h) {
        h.test("topic selector: a consumer gets what it selects", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer even = session.createConsumer(env.topic(), "n % 2 = 0 AND kind IN ('a', 'b')");
            MessageConsumer all = session.createConsumer(env.topic());
            sendNumbered(session, env.topic(), 0, 6);
            Env.receiveTexts(even, "m0", "m2", "m4");
            Env.nothing(even);
            Env.receiveMany(all, "m", 0, 6);
        });
        h.test("topic selector: an absent durable subscriber is kept only what it selects", env -> {
            subscribeAndLeave(env, env.topic(), "n > 2");
            Session sender = Env.auto(env.connect());
            sendNumbered(sender, env.topic(), 0, 6);
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session session = Env.auto(connection);
            MessageConsumer again = session.createDurableSubscriber(env.topic(), "sub", "n > 2", false);
            Env.receiveTexts(again, "m3", "m4", "m5");
            Env.nothing(again);
            again.close();
            session.unsubscribe("sub");
        });
        h.test("topic selector: another selector makes another durable subscription", env -> {
            subscribeAndLeave(env, env.topic(), "n < 3");
            Session sender = Env.auto(env.connect());
            sendNumbered(sender, env.topic(), 0, 3);
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session session = Env.auto(connection);
            MessageConsumer other = session.createDurableSubscriber(env.topic(), "sub", "n >= 3", false);
            Env.nothing(other);
            sendNumbered(sender, env.topic(), 2, 5);
            Env.receiveTexts(other, "m3", "m4");
            other.close();
            session.unsubscribe("sub");
        });
        h.test("topic wildcard: a consumer gets from topics that are made later", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer one = session.createConsumer(env.topic(".*"));
            MessageConsumer rest = session.createConsumer(env.topic(".>"));
            Env.send(session, env.topic(".a"), "a");
            Env.send(session, env.topic(".b.c"), "bc");
            Env.send(session, env.topic(".d"), "d");
            Env.receiveTexts(one, "a", "d");
            Env.nothing(one);
            Env.receiveTexts(rest, "a", "bc", "d");
        });
        h.test("topic wildcard: a durable subscription keeps what comes to all its topics", env -> {
            Session sender = Env.auto(env.connect());
            // Both brokers know the topics before the subscription.
            Env.send(sender, env.topic(".a"), "before");
            Env.send(sender, env.topic(".b"), "before");
            subscribeAndLeave(env, env.topic(".*"), null);
            Env.send(sender, env.topic(".a"), "a");
            Env.send(sender, env.topic(".b"), "b");
            ActiveMQConnection connection = env.connectAs(env.unique("client"));
            Session session = Env.auto(connection);
            MessageConsumer again = session.createDurableSubscriber(env.topic(".*"), "sub", null, false);
            java.util.Set<String> got = new java.util.TreeSet<>();
            got.add(Env.receiveText(again));
            got.add(Env.receiveText(again));
            Env.equal(java.util.Set.of("a", "b"), got, "kept");
            Env.nothing(again);
            again.close();
            session.unsubscribe("sub");
        });
        h.test("retroactive: a late consumer gets the last message", env -> {
            ActiveMQTopic topic = new ActiveMQTopic("interop.topic.last." + env.unique("t"));
            Session session = Env.auto(env.connect());
            Env.sendMany(session, topic, "m", 5);
            MessageConsumer late = session.createConsumer(retroactive(topic));
            Env.receiveTexts(late, "m4");
            Env.nothing(late);
            MessageConsumer plain = session.createConsumer(topic);
            Env.nothing(plain);
        });
        h.test("retroactive: a late consumer gets the last three messages that it selects, in order", env -> {
            ActiveMQTopic topic = new ActiveMQTopic("interop.topic.count." + env.unique("t"));
            Session session = Env.auto(env.connect());
            sendNumbered(session, topic, 0, 6);
            MessageConsumer late = session.createConsumer(retroactive(topic));
            Env.receiveMany(late, "m", 3, 6);
            Env.nothing(late);
            MessageConsumer odd = session.createConsumer(retroactive(topic), "n % 2 = 1");
            Env.receiveTexts(odd, "m3", "m5");
            Env.nothing(odd);
        });
        h.test("slow consumer: the oldest messages beyond its limit are discarded", env -> {
            ActiveMQTopic topic = new ActiveMQTopic("interop.topic.limit." + env.unique("t"));
            Session session = Env.auto(env.connect("jms.prefetchPolicy.topicPrefetch=1"));
            MessageConsumer slow = session.createConsumer(topic);
            Env.sendMany(Env.auto(env.connect()), topic, "m", 30);
            Env.receiveTexts(slow, "m0");
            Env.receiveMany(slow, "m", 20, 30);
            Env.nothing(slow);
        });
    }

    private static ActiveMQTopic retroactive(ActiveMQTopic topic) {
        return new ActiveMQTopic(topic.getPhysicalName() + "?consumer.retroactive=true");
    }

    /** Makes the durable subscription `sub` of this case's client, and leaves. */
    private static void subscribeAndLeave(Env env, ActiveMQTopic topic, String selector) throws Exception {
        ActiveMQConnection connection = env.connectAs(env.unique("client"));
        Env.auto(connection).createDurableSubscriber(topic, "sub", selector, false);
        connection.close();
    }

    /** Sends m`from` to m`to - 1`, each with its number. */
    private static void sendNumbered(Session session, ActiveMQTopic topic, int from, int to) throws Exception {
        MessageProducer producer = session.createProducer(topic);
        for (int i = from; i < to; i++) {
            TextMessage message = session.createTextMessage("m" + i);
            message.setIntProperty("n", i);
            message.setStringProperty("kind", "a");
            producer.send(message);
        }
        producer.close();
    }
}
