import java.util.HashSet;
import java.util.Set;
import javax.jms.DeliveryMode;
import javax.jms.InvalidSelectorException;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import org.apache.activemq.ScheduledMessage;
import org.apache.activemq.command.ActiveMQMessage;

/** Messages that are delivered later, and requests to the scheduler; selectors on both. */
final class Schedules {
    static void run(Harness h) {
        h.test("schedule: a delayed message comes later, without the properties", Schedules::delayed);
        h.test("schedule: repetitions have one job and ids of their own", Schedules::repeated);
        h.test("schedule: a non-persistent message is delayed as well", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(env.queue());
            MessageProducer producer = session.createProducer(env.queue());
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            producer.send(later(session, "x", 500));
            Env.equal(null, consumer.receive(250), "too early");
            Env.receiveTexts(consumer, "x");
        });
        h.test("schedule: a transaction schedules with its commit", env -> {
            Session session = Env.transacted(env.connect());
            Session other = Env.auto(env.connect());
            MessageConsumer consumer = other.createConsumer(env.queue());
            MessageProducer producer = session.createProducer(env.queue());
            producer.send(later(session, "rolled back", 100));
            session.rollback();
            producer.send(later(session, "committed", 100));
            Env.equal(null, consumer.receive(1_500), "before the commit");
            session.commit();
            Env.receiveTexts(consumer, "committed");
            Env.nothing(consumer);
        });
        h.test("schedule: jobs are browsed and removed", Schedules::managed);
        h.test("schedule: too many repetitions are refused", env -> {
            Session session = Env.auto(env.connect());
            Message message = later(session, "x", 10);
            message.setIntProperty(ScheduledMessage.AMQ_SCHEDULED_REPEAT, 5_000);
            Env.fails(JMSException.class, () -> session.createProducer(env.queue()).send(message));
        });
        h.test("schedule: what a consumer selects comes later too", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(env.queue(), "n > 1 AND scheduledJobId IS NOT NULL");
            MessageProducer producer = session.createProducer(env.queue());
            for (int n = 1; n <= 2; n++) {
                Message message = later(session, "m" + n, 200);
                message.setIntProperty("n", n);
                producer.send(message);
            }
            Env.receiveTexts(consumer, "m2");
            Env.nothing(consumer);
        });
        h.test("selector: one that is none is refused", env -> {
            Session session = Env.auto(env.connect());
            Env.fails(InvalidSelectorException.class, () -> session.createConsumer(env.queue(), "a = "));
        });
    }

    private static Message later(Session session, String text, long delayMillis) throws JMSException {
        Message message = session.createTextMessage(text);
        message.setLongProperty(ScheduledMessage.AMQ_SCHEDULED_DELAY, delayMillis);
        return message;
    }

    private static void delayed(Env env) throws Exception {
        Session session = Env.auto(env.connect());
        MessageConsumer consumer = session.createConsumer(env.queue());
        Message message = later(session, "later", 1_000);
        message.setIntProperty("mine", 7);
        MessageProducer producer = session.createProducer(env.queue());
        long start = System.currentTimeMillis();
        producer.send(message);
        producer.send(session.createTextMessage("now"));
        Env.receiveTexts(consumer, "now");
        Message got = Env.receive(consumer);
        Env.check(System.currentTimeMillis() - start >= 1_000, "not before its time");
        Env.equal("later", Env.textOf(got), "text");
        Env.equal(7, got.getIntProperty("mine"), "another property");
        Env.check(!got.propertyExists(ScheduledMessage.AMQ_SCHEDULED_DELAY), "the delay is gone");
        Env.check(got.getStringProperty(ScheduledMessage.AMQ_SCHEDULED_ID) != null, "it names its job");
        Env.equal(message.getJMSMessageID(), got.getJMSMessageID(), "JMSMessageID");
        Env.nothing(consumer);
    }

    private static void repeated(Env env) throws Exception {
        Session session = Env.auto(env.connect());
        MessageConsumer consumer = session.createConsumer(env.queue());
        Message message = later(session, "again", 100);
        message.setLongProperty(ScheduledMessage.AMQ_SCHEDULED_PERIOD, 500);
        message.setIntProperty(ScheduledMessage.AMQ_SCHEDULED_REPEAT, 2);
        session.createProducer(env.queue()).send(message);
        Set<String> ids = new HashSet<>();
        Set<String> jobs = new HashSet<>();
        for (int i = 0; i < 3; i++) {
            Message got = Env.receive(consumer);
            ids.add(got.getJMSMessageID());
            jobs.add(got.getStringProperty(ScheduledMessage.AMQ_SCHEDULED_ID));
        }
        Env.equal(3, ids.size(), "message ids");
        Env.equal(1, jobs.size(), "jobs");
        Env.equal(null, consumer.receive(1_200), "one too many");
    }

    private static void managed(Env env) throws Exception {
        Session session = Env.auto(env.connect());
        MessageProducer producer = session.createProducer(env.queue());
        for (int i = 0; i < 3; i++) {
            producer.send(later(session, "m" + i, 600_000 + i * 100_000L));
        }
        TemporaryQueue replies = session.createTemporaryQueue();
        MessageConsumer browser = session.createConsumer(replies);
        MessageProducer requests =
                session.createProducer(session.createTopic(ScheduledMessage.AMQ_SCHEDULER_MANAGEMENT_DESTINATION));
        requests.send(browse(session, replies));
        String job = null;
        for (int i = 0; i < 3; i++) {
            ActiveMQMessage shown = (ActiveMQMessage) Env.receive(browser);
            Env.equal("m" + i, Env.textOf(shown), "shown in the order of time");
            Env.equal(env.queue(), shown.getOriginalDestination(), "original destination");
            Env.equal(600_000 + i * 100_000L, shown.getLongProperty(ScheduledMessage.AMQ_SCHEDULED_DELAY), "delay");
            job = shown.getStringProperty(ScheduledMessage.AMQ_SCHEDULED_ID);
        }
        Message remove = session.createMessage();
        remove.setStringProperty(
                ScheduledMessage.AMQ_SCHEDULER_ACTION, ScheduledMessage.AMQ_SCHEDULER_ACTION_REMOVE);
        remove.setStringProperty(ScheduledMessage.AMQ_SCHEDULED_ID, job);
        requests.send(remove);
        Message within = browse(session, replies);
        long now = System.currentTimeMillis();
        within.setLongProperty(ScheduledMessage.AMQ_SCHEDULER_ACTION_START_TIME, now + 650_000);
        within.setLongProperty(ScheduledMessage.AMQ_SCHEDULER_ACTION_END_TIME, now + 900_000);
        requests.send(within);
        Env.receiveTexts(browser, "m1");
        Env.nothing(browser);
        Message removeAll = session.createMessage();
        removeAll.setStringProperty(
                ScheduledMessage.AMQ_SCHEDULER_ACTION, ScheduledMessage.AMQ_SCHEDULER_ACTION_REMOVEALL);
        requests.send(removeAll);
        requests.send(browse(session, replies));
        Env.nothing(browser);
    }

    private static Message browse(Session session, TemporaryQueue replies) throws JMSException {
        Message request = session.createMessage();
        request.setStringProperty(
                ScheduledMessage.AMQ_SCHEDULER_ACTION, ScheduledMessage.AMQ_SCHEDULER_ACTION_BROWSE);
        request.setJMSReplyTo(replies);
        return request;
    }
}
