import java.util.ArrayList;
import java.util.Collections;
import java.util.Enumeration;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import javax.jms.Connection;
import javax.jms.Destination;
import javax.jms.InvalidSelectorException;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.QueueBrowser;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQMessageConsumer;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ConsumerId;
import org.apache.activemq.command.ConsumerInfo;

/** Which messages of which queues a consumer or browser gets: selectors, noLocal, wildcards, several queues at once. */
final class QueueSelectors {
    /** ActiveMQ looks no further than one page of 200 messages for something that is wanted. */
    private static final int UNWANTED = 100;

    static void run(Harness h) {
        h.test("selector: consumers of a queue each get theirs in order, the rest stays", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer red = Env.auto(env.connect()).createConsumer(env.queue(), "color = 'red'");
            MessageConsumer heavy =
                    Env.auto(env.connect()).createConsumer(env.queue(), "color <> 'red' AND weight >= 5");
            for (int i = 0; i < 10; i++) {
                send(session, env.queue(), "r" + i, "red", i);
                send(session, env.queue(), "b" + i, "blue", i);
            }
            Env.receiveMany(heavy, "b", 5, 10);
            Env.receiveMany(red, "r", 0, 10);
            Env.nothing(red);
            Env.nothing(heavy);
            Env.equal(List.of("b0", "b1", "b2", "b3", "b4"), env.browse(env.queue()), "what nobody wanted");
        });
        h.test("selector: what nobody wants blocks nothing", env -> blocksNothing(env, ""));
        h.test("selector: what nobody wants blocks nothing with prefetch 1",
                env -> blocksNothing(env, "jms.prefetchPolicy.queuePrefetch=1"));
        h.test("selector: pulls take only what is selected", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queuePrefetch=0"));
            send(session, env.queue(), "b0", "blue", 0);
            MessageConsumer red = session.createConsumer(env.queue(), "color = 'red'");
            Env.equal(null, red.receiveNoWait(), "nothing red yet");
            Env.equal(null, red.receive(200), "nothing red in time");
            send(session, env.queue(), "b1", "blue", 1);
            send(session, env.queue(), "r0", "red", 0);
            Env.receiveTexts(red, "r0");
            Env.equal(List.of("b0", "b1"), Env.browse(session, env.queue()), "the rest");
        });
        h.test("selector: a browser sees only what it selects and takes nothing", env -> {
            Session session = Env.auto(env.connect());
            for (int i = 0; i < 20; i++) {
                send(session, env.queue(), (i % 2 == 0 ? "r" : "b") + i, i % 2 == 0 ? "red" : "blue", i);
            }
            Env.equal(List.of("r14", "r16", "r18"),
                    browse(session, env.queue(), "color = 'red' AND weight > 12"), "selected");
            Env.equal(List.of(), browse(session, env.queue(), "color = 'green'"), "nothing is green");
            Env.equal(20, env.browse(env.queue()).size(), "all is still there");
        });
        h.test("selector: what a lost consumer had goes to another that selects it", env -> {
            Session sender = Env.auto(env.connect());
            ActiveMQConnection lost = env.connect();
            MessageConsumer first = Env.client(lost).createConsumer(env.queue(), "color = 'red'");
            MessageConsumer blue = Env.auto(env.connect()).createConsumer(env.queue(), "color = 'blue'");
            for (int i = 0; i < 3; i++) {
                send(sender, env.queue(), "r" + i, "red", i);
            }
            Env.receiveTexts(first, "r0", "r1", "r2");
            Env.cut(lost);
            MessageConsumer second = Env.auto(env.connect()).createConsumer(env.queue(), "weight < 2");
            for (int i = 0; i < 2; i++) {
                Message m = Env.receive(second);
                Env.equal("r" + i, Env.textOf(m), "message");
                Env.check(m.getJMSRedelivered(), "r" + i + " is flagged");
            }
            Env.nothing(second);
            Env.nothing(blue);
            Env.equal(List.of("r2"), env.browse(env.queue()), "the rest");
        });
        h.test("selector: one that is none is refused to a browser and by the broker itself", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            Env.fails(InvalidSelectorException.class,
                    () -> session.createBrowser(env.queue(), "color = 'red").getEnumeration());
            // The client library parses selectors too, so this one goes to the broker without it.
            ActiveMQMessageConsumer present = (ActiveMQMessageConsumer) session.createConsumer(env.queue());
            ConsumerId id = new ConsumerId(present.getConsumerId());
            id.setValue(9_999);
            ConsumerInfo info = new ConsumerInfo(id);
            info.setDestination(env.queue());
            info.setPrefetchSize(10);
            info.setSelector("weight BETWEEN 1");
            Env.fails(InvalidSelectorException.class, () -> connection.syncSendPacket(info));
            Env.sendMany(session, env.queue(), "m", 3);
            Env.receiveMany(present, "m", 0, 3);
        });
        h.test("selector: noLocal leaves the own messages of a queue to others", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer foreign = session.createConsumer(env.queue(), null, true);
            Env.send(session, env.queue(), "own");
            Env.send(Env.auto(env.connect()), env.queue(), "other");
            Env.receiveTexts(foreign, "other");
            Env.nothing(foreign);
            Env.receiveTexts(Env.auto(env.connect()).createConsumer(env.queue()), "own");
        });
        h.test("wildcard consumer: gets from all queues that match, later ones too", env -> {
            Session session = Env.auto(env.connect());
            Env.send(session, env.queue(".a"), "a0");
            MessageConsumer consumer = session.createConsumer(env.queue(".*"));
            Env.send(session, env.queue(".b"), "b0", "b1");
            Env.send(session, env.queue(".c.deeper"), "c0");
            Set<String> seen = new TreeSet<>();
            for (int i = 0; i < 3; i++) {
                Message m = Env.receive(consumer);
                seen.add(((Queue) m.getJMSDestination()).getQueueName() + " " + Env.textOf(m));
            }
            Env.equal(Set.of(env.queue(".a").getQueueName() + " a0", env.queue(".b").getQueueName() + " b0",
                    env.queue(".b").getQueueName() + " b1"), seen, "received");
            Env.nothing(consumer);
            Env.receiveTexts(session.createConsumer(env.queue(".c.>")), "c0");
        });
        h.test("wildcard consumer: its selector counts in each queue", env -> {
            Session session = Env.auto(env.connect());
            send(session, env.queue(".a"), "a-red", "red", 1);
            send(session, env.queue(".a"), "a-blue", "blue", 1);
            MessageConsumer consumer = session.createConsumer(env.queue(".>"), "color = 'red'");
            send(session, env.queue(".b"), "b-blue", "blue", 1);
            send(session, env.queue(".b"), "b-red", "red", 1);
            Env.equal(List.of("a-red", "b-red"), sorted(consumer, 2), "received");
            Env.nothing(consumer);
            Env.equal(List.of("a-blue"), env.browse(env.queue(".a")), "rest of a");
            Env.equal(List.of("b-blue"), env.browse(env.queue(".b")), "rest of b");
        });
        h.test("composite consumer: an acknowledgement covers all its queues", env -> {
            Session sender = Env.auto(env.connect());
            Destination both = new ActiveMQQueue(
                    env.queue(".a").getPhysicalName() + "," + env.queue(".b").getPhysicalName());
            Connection connection = env.connect("jms.prefetchPolicy.queuePrefetch=4");
            MessageConsumer consumer = Env.client(connection).createConsumer(both);
            Message last = null;
            for (int i = 0; i < 10; i++) {
                Env.send(sender, env.queue(i % 3 == 0 ? ".a" : ".b"), "m" + i);
                last = Env.receive(consumer);
                Env.equal("m" + i, Env.textOf(last), "message");
            }
            last.acknowledge();
            Env.send(sender, env.queue(".a"), "more");
            Env.send(sender, env.queue(".b"), "more");
            Env.receiveTexts(consumer, "more", "more");
            connection.close();
            for (String part : List.of(".a", ".b")) {
                Message again = Env.receive(sender.createConsumer(env.queue(part)));
                Env.equal("more", Env.textOf(again), "what was not acknowledged in " + part);
                // ActiveMQ flags only what is in the queue of the message that was delivered last.
                Env.check(again.getJMSRedelivered() || part.equals(".a"), "it is flagged");
                env.awaitDepth(env.queue(part), 0);
            }
        });
        h.test("wildcard browser: sees what it selects in all queues", env -> {
            Session session = Env.auto(env.connect());
            for (String part : List.of("a", "b", "c")) {
                send(session, env.queue("." + part), part + "-red", "red", 1);
                send(session, env.queue("." + part), part + "-blue", "blue", 1);
            }
            List<String> seen = browse(session, env.queue(".*"), "color = 'blue'");
            Collections.sort(seen);
            Env.equal(List.of("a-blue", "b-blue", "c-blue"), seen, "browsed");
            Env.equal(List.of("b-red", "b-blue"), env.browse(env.queue(".b")), "nothing was taken");
        });
    }

    private static void blocksNothing(Env env, String options) throws Exception {
        Session sender = Env.auto(env.connect());
        for (int i = 0; i < UNWANTED; i++) {
            send(sender, env.queue(), "m" + i, "blue", i);
        }
        send(sender, env.queue(), "early", "red", 0);
        MessageConsumer red = Env.auto(env.connect(options)).createConsumer(env.queue(), "color = 'red'");
        Env.receiveTexts(red, "early");
        send(sender, env.queue(), "late", "red", 0);
        Env.receiveTexts(red, "late");
        Env.nothing(red);
        MessageConsumer rest = Env.auto(env.connect(options)).createConsumer(env.queue());
        Env.receiveMany(rest, "m", 0, UNWANTED);
        Env.nothing(rest);
    }

    private static void send(Session session, Destination to, String text, String color, int weight)
            throws JMSException {
        MessageProducer producer = session.createProducer(to);
        Message message = session.createTextMessage(text);
        message.setStringProperty("color", color);
        message.setIntProperty("weight", weight);
        producer.send(message);
        producer.close();
    }

    private static List<String> browse(Session session, Queue queue, String selector) throws JMSException {
        QueueBrowser browser = session.createBrowser(queue, selector);
        List<String> texts = new ArrayList<>();
        Enumeration<?> all = browser.getEnumeration();
        while (all.hasMoreElements()) {
            texts.add(Env.textOf((Message) all.nextElement()));
        }
        browser.close();
        return texts;
    }

    private static List<String> sorted(MessageConsumer consumer, int count) throws JMSException {
        List<String> texts = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            texts.add(Env.receiveText(consumer));
        }
        Collections.sort(texts);
        return texts;
    }
}
