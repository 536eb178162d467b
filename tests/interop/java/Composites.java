import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;

/** Names that stand for several destinations, options in names, and how destinations come and go. */
final class Composites {
    static void run(Harness h) {
        h.test("composite name: one send reaches queues and topics", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer one = session.createConsumer(env.queue(".1"));
            MessageConsumer two = session.createConsumer(env.queue(".2"));
            MessageConsumer topic = session.createConsumer(env.topic(".3"));
            ActiveMQQueue whole = whole(env);
            Env.sendMany(session, whole, "m", 10);
            Env.receiveMany(one, "m", 0, 10);
            Env.receiveMany(two, "m", 0, 10);
            Env.receiveMany(topic, "m", 0, 10);
        });
        h.test("composite name: each copy shows its own destination", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer one = session.createConsumer(env.queue(".1"));
            MessageConsumer topic = session.createConsumer(env.topic(".3"));
            Env.send(session, whole(env), "m");
            Message copy = Env.receive(one);
            Env.equal(env.queue(".1"), copy.getJMSDestination(), "destination");
            Env.equal(env.topic(".3"), Env.receive(topic).getJMSDestination(), "destination");
        });
        h.test("composite name: a transaction covers all parts", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer one = session.createConsumer(env.queue(".1"));
            MessageConsumer two = session.createConsumer(env.queue(".2"));
            Session sender = Env.transacted(env.connect());
            Env.send(sender, whole(env), "never");
            sender.rollback();
            Env.send(sender, whole(env), "m");
            Env.nothing(one);
            sender.commit();
            Env.receiveTexts(one, "m");
            Env.receiveTexts(two, "m");
            Env.nothing(two);
        });
        h.test("composite name: a producer without destination may use one", env -> {
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(null);
            producer.send(whole(env), session.createTextMessage("m"));
            Env.receiveTexts(session.createConsumer(env.queue(".1")), "m");
            Env.receiveTexts(session.createConsumer(env.queue(".2")), "m");
        });
        h.test("composite name: a temporary queue may be a part", env -> {
            Session session = Env.auto(env.connect());
            TemporaryQueue temporary = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(temporary);
            String name = env.queue(".1").getPhysicalName() + ",temp-queue://" + temporary.getQueueName();
            Env.send(session, new ActiveMQQueue(name), "m");
            Env.receiveTexts(consumer, "m");
            Env.receiveTexts(session.createConsumer(env.queue(".1")), "m");
        });
        h.test("composite name: a consumer of topics gets all parts", env -> {
            Session session = Env.auto(env.connect());
            String name = env.topic(".1").getPhysicalName() + "," + env.topic(".2").getPhysicalName();
            MessageConsumer consumer = session.createConsumer(new ActiveMQTopic(name));
            Env.send(session, env.topic(".1"), "1");
            Env.send(session, env.topic(".2"), "2");
            Env.receiveTexts(consumer, "1", "2");
        });
        h.test("composite name: a consumer of queues gets all parts", env -> {
            Session session = Env.auto(env.connect());
            Env.send(session, env.queue(".1"), "1");
            Env.send(session, env.queue(".2"), "2");
            String name = env.queue(".1").getPhysicalName() + "," + env.queue(".2").getPhysicalName();
            MessageConsumer consumer = session.createConsumer(new ActiveMQQueue(name));
            String first = Env.receiveText(consumer);
            String second = Env.receiveText(consumer);
            Env.equal("1 2", first.compareTo(second) < 0 ? first + " " + second : second + " " + first, "texts");
        });
        h.test("names: options of a consumer are no part of the name", env -> {
            Session session = Env.auto(env.connect());
            String name = env.queue().getPhysicalName();
            MessageConsumer consumer =
                    session.createConsumer(new ActiveMQQueue(name + "?consumer.prefetchSize=1"));
            Env.send(session, env.queue(), "a", "b");
            Message first = Env.receive(consumer);
            Env.equal(env.queue(), first.getJMSDestination(), "destination");
            Env.receiveTexts(consumer, "b");
        });
        h.test("destinations: one that has consumers is not removed", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            try {
                connection.destroyDestination(env.queue());
                throw new AssertionError("it was removed");
            } catch (JMSException expected) {
                if (!expected.getMessage().contains("still has an active subscription")) {
                    throw expected;
                }
            }
            Env.send(session, env.queue(), "m");
            Env.receiveTexts(consumer, "m");
        });
        h.test("destinations: a removed queue takes its messages along", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            Env.send(session, env.queue(), "old");
            connection.destroyDestination(env.queue());
            Env.send(session, env.queue(), "new");
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveTexts(consumer, "new");
            Env.nothing(consumer);
            connection.destroyDestination(new ActiveMQQueue(env.unique("unknown")));
        });
        h.test("destinations: a topic can be removed and used again", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            session.createConsumer(env.topic()).close();
            connection.destroyDestination(env.topic());
            MessageConsumer consumer = session.createConsumer(env.topic());
            Env.send(session, env.topic(), "m");
            Env.receiveTexts(consumer, "m");
        });
        h.test("destinations: one that nobody uses goes, one with messages stays", env -> {
            ActiveMQQueue unused = new ActiveMQQueue("interop.gc." + env.unique("unused"));
            ActiveMQQueue used = new ActiveMQQueue("interop.gc." + env.unique("used"));
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            session.createConsumer(unused).close();
            Env.send(session, used, "m");
            org.apache.activemq.advisory.DestinationSource source = connection.getDestinationSource();
            Env.await(() -> source.getQueues().contains(used), "the used queue is known");
            Env.await(() -> !source.getQueues().contains(unused), "the unused queue goes");
            Env.equal(true, source.getQueues().contains(used), "the used queue stays");
            Env.send(session, unused, "again");
            Env.receiveTexts(session.createConsumer(unused), "again");
            Env.receiveTexts(session.createConsumer(used), "m");
        });
        h.test("statistics: destinations and the broker answer with numbers", env -> {
            Session session = Env.auto(env.connect());
            Env.sendMany(session, env.queue(".1"), "m", 3);
            Env.sendMany(session, env.queue(".2"), "m", 1);
            TemporaryQueue replies = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(replies);
            Message question = session.createMessage();
            question.setJMSReplyTo(replies);
            question.setJMSCorrelationID("7");
            String pattern = env.queue(".*").getPhysicalName();
            session.createProducer(new ActiveMQQueue("ActiveMQ.Statistics.Destination." + pattern)).send(question);
            long size = 0;
            for (int i = 0; i < 2; i++) {
                javax.jms.MapMessage answer = (javax.jms.MapMessage) Env.receive(consumer);
                Env.equal("7", answer.getJMSCorrelationID(), "correlation id");
                Env.equal(answer.getLong("size"), answer.getLong("enqueueCount"), "enqueued");
                Env.equal(0L, answer.getLong("dequeueCount"), "dequeued");
                size += answer.getLong("size");
                answer.getInt("memoryPercentUsage");
                answer.getDouble("averageEnqueueTime");
            }
            Env.equal(4L, size, "size");
            session.createProducer(new ActiveMQQueue("ActiveMQ.Statistics.Broker")).send(question);
            javax.jms.MapMessage broker = (javax.jms.MapMessage) Env.receive(consumer);
            if (broker.getLong("size") < 4 || broker.getLong("storeUsage") <= 0 || broker.getString("brokerName") == null) {
                throw new AssertionError("these are no statistics: " + broker);
            }
            Env.nothing(consumer);
        });
        h.test("temporary: only its creator may consume, others may send", env -> {
            Session session = Env.auto(env.connect());
            TemporaryQueue temporary = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(temporary);
            Session other = Env.auto(env.connect());
            Env.send(other, temporary, "m");
            Env.receiveTexts(consumer, "m");
            try {
                other.createConsumer(temporary);
                throw new AssertionError("another connection consumes from it");
            } catch (JMSException expected) {
                // As it must be.
            }
        });
        h.test("temporary: a send to one whose connection is gone fails", env -> {
            ActiveMQConnection owner = env.connect();
            TemporaryQueue temporary = Env.auto(owner).createTemporaryQueue();
            Session other = Env.auto(env.connect());
            Env.send(other, temporary, "m");
            owner.close();
            long deadline = System.currentTimeMillis() + Env.WAIT_MS;
            while (true) {
                try {
                    Env.send(other, temporary, "m");
                } catch (JMSException expected) {
                    // The client knows it by an advisory, or the broker says it.
                    if (!(expected instanceof javax.jms.InvalidDestinationException)
                            && !(expected instanceof org.apache.activemq.DestinationDoesNotExistException)) {
                        throw expected;
                    }
                    return;
                }
                if (System.currentTimeMillis() > deadline) {
                    throw new AssertionError("sends still succeed");
                }
                Thread.sleep(50);
            }
        });
    }

    private static ActiveMQQueue whole(Env env) {
        ActiveMQDestination topic = env.topic(".3");
        return new ActiveMQQueue(env.queue(".1").getPhysicalName() + ",queue://" + env.queue(".2").getPhysicalName()
                + "," + topic.getQualifiedName());
    }
}
