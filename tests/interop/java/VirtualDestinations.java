import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.Session;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;

/** Virtual topics, and the composite destinations of tests/interop/activemq.xml. */
final class VirtualDestinations {
    static void run(Harness h) {
        h.test("virtual topic: every queue of a consumer gets a copy, shared by its consumers", env -> {
            ActiveMQTopic topic = topic(env);
            Session session = Env.auto(env.connect());
            MessageConsumer a = session.createConsumer(queue("A", topic));
            MessageConsumer b = session.createConsumer(queue("B", topic));
            MessageConsumer plain = session.createConsumer(topic);
            Env.sendMany(Env.auto(env.connect()), topic, "m", 20);
            Env.receiveMany(a, "m", 0, 20);
            Env.receiveMany(b, "m", 0, 20);
            Env.receiveMany(plain, "m", 0, 20);
            Env.nothing(a);
        });
        h.test("virtual topic: a queue keeps what comes while nobody is there", env -> {
            ActiveMQTopic topic = topic(env);
            Session session = Env.auto(env.connect());
            Env.send(session, topic, "too early");
            session.createConsumer(queue("A", topic)).close();
            Env.send(session, topic, "kept");
            Env.receiveTexts(session.createConsumer(queue("A", topic)), "kept");
        });
        h.test("virtual topic: a copy shows its queue and where it was sent to", env -> {
            ActiveMQTopic topic = topic(env);
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(queue("A", topic));
            Env.send(session, topic, "m");
            shows(Env.receive(consumer), queue("A", topic), topic);
        });
        h.test("virtual topic: copies of one transaction come with its commit", env -> {
            ActiveMQTopic topic = topic(env);
            Session session = Env.auto(env.connect());
            MessageConsumer a = session.createConsumer(queue("A", topic));
            MessageConsumer b = session.createConsumer(queue("B", topic));
            Session sender = Env.transacted(env.connect());
            Env.send(sender, topic, "never");
            sender.rollback();
            Env.send(sender, topic, "one", "two");
            Env.nothing(a);
            sender.commit();
            Env.receiveTexts(a, "one", "two");
            Env.receiveTexts(b, "one", "two");
        });
        h.test("virtual topic: a consumer with wildcards gets what matches", env -> {
            ActiveMQTopic topic = topic(env);
            ActiveMQQueue pattern = new ActiveMQQueue("Consumer.A." + topic.getPhysicalName() + ".>");
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(pattern);
            Env.send(session, new ActiveMQTopic(topic.getPhysicalName() + ".one"), "1");
            Env.send(session, new ActiveMQTopic(topic.getPhysicalName() + ".two.three"), "2");
            Env.send(session, new ActiveMQTopic("VirtualTopic.another"), "other");
            Env.receiveTexts(consumer, "1", "2");
            Env.nothing(consumer);
        });
        h.test("virtual topic: a consumer's selector decides at its queue", env -> {
            ActiveMQTopic topic = topic(env);
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(queue("A", topic), "n = 2");
            for (int n = 1; n <= 3; n++) {
                TextMessage message = session.createTextMessage("m" + n);
                message.setIntProperty("n", n);
                session.createProducer(topic).send(message);
            }
            Env.receiveTexts(consumer, "m2");
            Env.nothing(consumer);
        });
        h.test("virtual topic: a dead letter comes from the queue", env -> {
            ActiveMQTopic topic = topic(env);
            ActiveMQConnection connection = env.connect("jms.redeliveryPolicy.maximumRedeliveries=0");
            Session session = Env.transacted(connection);
            MessageConsumer consumer = session.createConsumer(queue("A", topic));
            Env.send(Env.auto(connection), topic, env.unique("poison"));
            Env.receive(consumer);
            session.rollback();
            Session reader = Env.auto(env.connect());
            MessageConsumer dead = reader.createConsumer(new ActiveMQQueue("ActiveMQ.DLQ"));
            while (true) {
                Message message = Env.receive(dead);
                if (Env.textOf(message).equals(env.unique("poison"))) {
                    Env.equal(queue("A", topic), ((ActiveMQMessage) message).getOriginalDestination(), "original destination");
                    return;
                }
            }
        });
        h.test("composite queue: all destinations get it, and nobody else", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer a = session.createConsumer(new ActiveMQQueue("interop.composite.a"));
            MessageConsumer b = session.createConsumer(new ActiveMQTopic("interop.composite.b"));
            ActiveMQQueue composite = new ActiveMQQueue("interop.composite.queue");
            MessageConsumer own = session.createConsumer(composite);
            Env.send(session, composite, "m");
            Message copy = Env.receive(a);
            Env.equal("m", Env.textOf(copy), "text");
            shows(copy, new ActiveMQQueue("interop.composite.a"), composite);
            shows(Env.receive(b), new ActiveMQTopic("interop.composite.b"), composite);
            Env.nothing(own);
        });
        h.test("composite topic: selectors choose, and the topic itself gets it too", env -> {
            Session session = Env.auto(env.connect());
            ActiveMQTopic composite = new ActiveMQTopic("interop.composite.topic");
            MessageConsumer odd = session.createConsumer(new ActiveMQQueue("interop.composite.odd"));
            MessageConsumer all = session.createConsumer(new ActiveMQQueue("interop.composite.all"));
            MessageConsumer own = session.createConsumer(composite);
            for (int n = 1; n <= 3; n++) {
                TextMessage message = session.createTextMessage("m" + n);
                message.setStringProperty("odd", n % 2 == 1 ? "yes" : "no");
                session.createProducer(composite).send(message);
            }
            Env.receiveTexts(odd, "m1", "m3");
            Env.receiveTexts(all, "m1", "m2", "m3");
            Env.receiveTexts(own, "m1", "m2", "m3");
            Env.nothing(odd);
        });
        h.test("composite queue: transactions cover all destinations", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer a = session.createConsumer(new ActiveMQQueue("interop.composite.a"));
            MessageConsumer b = session.createConsumer(new ActiveMQTopic("interop.composite.b"));
            Session sender = Env.transacted(env.connect());
            Env.send(sender, new ActiveMQQueue("interop.composite.queue"), "never");
            sender.rollback();
            Env.send(sender, new ActiveMQQueue("interop.composite.queue"), "m");
            Env.nothing(a);
            sender.commit();
            Env.receiveTexts(a, "m");
            Env.receiveTexts(b, "m");
        });
    }

    private static ActiveMQTopic topic(Env env) {
        return new ActiveMQTopic("VirtualTopic." + env.unique("T"));
    }

    private static ActiveMQQueue queue(String consumer, ActiveMQTopic topic) {
        return new ActiveMQQueue("Consumer." + consumer + "." + topic.getPhysicalName());
    }

    /** Also used for composite names. */
    static void shows(Message message, ActiveMQDestination destination, ActiveMQDestination original)
            throws JMSException {
        Env.equal(destination, message.getJMSDestination(), "destination");
        Env.equal(original, ((ActiveMQMessage) message).getOriginalDestination(), "original destination");
    }
}
