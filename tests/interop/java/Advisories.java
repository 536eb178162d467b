import javax.jms.DeliveryMode;
import javax.jms.JMSException;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.advisory.AdvisorySupport;
import org.apache.activemq.advisory.ConsumerEventSource;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTempDestination;
import org.apache.activemq.command.ActiveMQTopic;
import org.apache.activemq.command.ConnectionInfo;
import org.apache.activemq.command.ConsumerInfo;
import org.apache.activemq.command.DestinationInfo;
import org.apache.activemq.command.Message;
import org.apache.activemq.command.ProducerInfo;
import org.apache.activemq.command.RemoveInfo;

/** What clients are advised of. */
final class Advisories {
    static void run(Harness h) {
        h.test("advisory: connections come and go, without passwords", env -> {
            MessageConsumer watcher = watch(env, AdvisorySupport.getConnectionAdvisoryTopic());
            String id = env.unique("client");
            ActiveMQConnection other = env.connectAs(id);
            ConnectionInfo info;
            do {
                info = (ConnectionInfo) nextOf(watcher, ConnectionInfo.class).getDataStructure();
            } while (!id.equals(info.getClientId()));
            if (info.getPassword() != null && !info.getPassword().isEmpty()) {
                throw new AssertionError("a password is told");
            }
            other.close();
            RemoveInfo gone;
            do {
                gone = (RemoveInfo) nextOf(watcher, RemoveInfo.class).getDataStructure();
            } while (!gone.getObjectId().equals(info.getConnectionId()));
        });
        h.test("advisory: consumers are counted as they come and go", env -> {
            MessageConsumer watcher = watch(env, AdvisorySupport.getConsumerAdvisoryTopic(env.queue()));
            Session session = Env.auto(env.connect());
            MessageConsumer one = session.createConsumer(env.queue());
            expectCount(watcher, ConsumerInfo.class, "consumerCount", 1);
            MessageConsumer two = session.createConsumer(env.queue());
            ActiveMQMessage told = expectCount(watcher, ConsumerInfo.class, "consumerCount", 2);
            Env.equal(env.queue(), ((ConsumerInfo) told.getDataStructure()).getDestination(), "destination");
            Env.equal("Advisory", told.getJMSType(), "type");
            if (told.getStringProperty("originBrokerId") == null || told.getStringProperty("originBrokerName") == null) {
                throw new AssertionError("it does not say where it comes from");
            }
            one.close();
            expectCount(watcher, RemoveInfo.class, "consumerCount", 1);
            two.close();
            expectCount(watcher, RemoveInfo.class, "consumerCount", 0);
        });
        h.test("advisory: who comes later is told of the consumers and producers there are", env -> {
            Session session = Env.auto(env.connect());
            session.createConsumer(env.topic());
            session.createProducer(env.topic());
            MessageConsumer consumers = watch(env, AdvisorySupport.getConsumerAdvisoryTopic(env.topic()));
            expectCount(consumers, ConsumerInfo.class, "consumerCount", 1);
            MessageConsumer producers = watch(env, AdvisorySupport.getProducerAdvisoryTopic(env.topic()));
            expectCount(producers, ProducerInfo.class, "producerCount", 1);
            Env.nothing(consumers);
        });
        h.test("advisory: producers are counted as they come and go", env -> {
            MessageConsumer watcher = watch(env, AdvisorySupport.getProducerAdvisoryTopic(env.queue()));
            Session session = Env.auto(env.connect());
            MessageProducer one = session.createProducer(env.queue());
            expectCount(watcher, ProducerInfo.class, "producerCount", 1);
            one.close();
            expectCount(watcher, RemoveInfo.class, "producerCount", 0);
        });
        h.test("advisory: a client's list of consumers follows", env -> {
            java.util.concurrent.LinkedBlockingQueue<Integer> counts = new java.util.concurrent.LinkedBlockingQueue<>();
            ConsumerEventSource source = new ConsumerEventSource(env.connect(), env.topic());
            source.setConsumerListener(event -> counts.add(event.getConsumerCount()));
            source.start();
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(env.topic());
            Env.equal(1, counts.poll(Env.WAIT_MS, java.util.concurrent.TimeUnit.MILLISECONDS), "consumers");
            consumer.close();
            Env.equal(0, counts.poll(Env.WAIT_MS, java.util.concurrent.TimeUnit.MILLISECONDS), "consumers");
            source.stop();
        });
        h.test("advisory: destinations come and go", env -> {
            ActiveMQConnection connection = env.connect();
            MessageConsumer watcher = watch(env, AdvisorySupport.getDestinationAdvisoryTopic(env.queue()));
            Env.send(Env.auto(connection), env.queue(), "m");
            expectDestination(watcher, env.queue(), true);
            connection.destroyDestination(env.queue());
            expectDestination(watcher, env.queue(), false);
        });
        h.test("advisory: temporary destinations come and go with their connection", env -> {
            MessageConsumer watcher = watch(env, AdvisorySupport.TEMP_QUEUE_ADVISORY_TOPIC);
            ActiveMQConnection owner = env.connect();
            TemporaryQueue temporary = Env.auto(owner).createTemporaryQueue();
            expectDestination(watcher, (ActiveMQTempDestination) temporary, true);
            owner.close();
            expectDestination(watcher, (ActiveMQTempDestination) temporary, false);
        });
        h.test("advisory: messages taken in and consumed, where the policy wants it", env -> {
            ActiveMQQueue queue = new ActiveMQQueue("interop.advisory." + env.unique("Q"));
            MessageConsumer delivered = watch(env, AdvisorySupport.getMessageDeliveredAdvisoryTopic(queue));
            MessageConsumer consumed = watch(env, AdvisorySupport.getMessageConsumedAdvisoryTopic(queue));
            Session session = Env.auto(env.connect());
            Env.send(session, queue, "m");
            javax.jms.Message message = Env.receive(session.createConsumer(queue));
            for (MessageConsumer watcher : new MessageConsumer[] {delivered, consumed}) {
                ActiveMQMessage told = nextOf(watcher, Message.class);
                Env.equal(message.getJMSMessageID(), told.getStringProperty("orignalMessageId"), "message id");
                Env.equal(queue.getQualifiedName(), told.getStringProperty("orignalDestination"), "destination");
                Env.equal(null, ((Message) told.getDataStructure()).getContent(), "body");
            }
        });
        h.test("advisory: a message that nobody is there for", env -> {
            ActiveMQTopic topic = new ActiveMQTopic("interop.advisory." + env.unique("T"));
            MessageConsumer watcher = watch(env, AdvisorySupport.getNoTopicConsumersAdvisoryTopic(topic));
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(topic);
            producer.send(session.createTextMessage("persistent"));
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            producer.send(session.createTextMessage("m"));
            Env.receiveTexts(watcher, "m");
            Env.nothing(watcher);
        });
        h.test("advisory: expired messages and dead letters", env -> {
            MessageConsumer expired = watch(env, AdvisorySupport.getExpiredQueueMessageAdvisoryTopic(env.queue()));
            MessageConsumer dead = watch(env, AdvisorySupport.getMessageDLQdAdvisoryTopic(env.queue()));
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(env.queue());
            producer.setTimeToLive(50);
            TextMessage message = session.createTextMessage("m");
            producer.send(message);
            Thread.sleep(100);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.nothing(consumer);
            Env.equal(message.getJMSMessageID(), nextOf(expired, Message.class).getStringProperty("orignalMessageId"), "message id");
            Message letter = (Message) nextOf(dead, Message.class).getDataStructure();
            Env.equal(message.getJMSMessageID(), letter.getMessageId().toString(), "message id");
        });
        h.test("advisory: wildcards see the advisories of all destinations that match", env -> {
            String name = env.queue().getPhysicalName();
            MessageConsumer watcher = watch(env, new ActiveMQTopic("ActiveMQ.Advisory.Consumer.Queue." + name + ".>"));
            Session session = Env.auto(env.connect());
            session.createConsumer(env.queue(".one"));
            ActiveMQMessage told = expectCount(watcher, ConsumerInfo.class, "consumerCount", 1);
            Env.equal(env.queue(".one"), ((ConsumerInfo) told.getDataStructure()).getDestination(), "destination");
        });
    }

    private static MessageConsumer watch(Env env, ActiveMQTopic topic) throws JMSException {
        return Env.auto(env.connect()).createConsumer(topic);
    }

    /** The next advisory about such a thing. */
    private static ActiveMQMessage nextOf(MessageConsumer watcher, Class<?> kind) throws JMSException {
        while (true) {
            ActiveMQMessage message = (ActiveMQMessage) Env.receive(watcher);
            if (kind.isInstance(message.getDataStructure())) {
                return message;
            }
        }
    }

    private static ActiveMQMessage expectCount(MessageConsumer watcher, Class<?> kind, String property, int count)
            throws JMSException {
        ActiveMQMessage message = (ActiveMQMessage) Env.receive(watcher);
        if (!kind.isInstance(message.getDataStructure())) {
            throw new AssertionError("not a " + kind.getSimpleName() + ": " + message.getDataStructure());
        }
        Env.equal(count, message.getIntProperty(property), property);
        return message;
    }

    private static void expectDestination(
            MessageConsumer watcher, org.apache.activemq.command.ActiveMQDestination destination, boolean isAdded)
            throws JMSException {
        while (true) {
            DestinationInfo info = (DestinationInfo) nextOf(watcher, DestinationInfo.class).getDataStructure();
            if (info.getDestination().equals(destination)) {
                Env.equal(isAdded, info.isAddOperation(), "addition");
                return;
            }
        }
    }
}
