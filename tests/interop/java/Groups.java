import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import javax.jms.Destination;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQMessageConsumer;
import org.apache.activemq.command.ActiveMQQueue;

/** Which of several consumers gets a queue's messages: message groups, exclusive consumers, consumer priority. */
final class Groups {
    /** What one consumer got. */
    private record Arrival(int consumer, String group, String text, boolean isFirst) {}

    static void run(Harness h) {
        h.test("message group: each stays with one of three consumers, in order", Groups::sticky);
        h.test("message group: the first message at a consumer says so", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(env.queue());
            send(session, env.queue(), "a1", "A", 1);
            send(session, env.queue(), "b1", "B", 1);
            send(session, env.queue(), "a2", "A", 2);
            Env.send(session, env.queue(), "none");
            send(session, env.queue(), "b2", "B", 2);
            for (String expected : List.of("a1 A 1 true", "b1 B 1 true", "a2 A 2 false", "none null 0 false",
                    "b2 B 2 false")) {
                Message m = Env.receive(consumer);
                String group = m.getStringProperty("JMSXGroupID");
                int sequence = group == null ? 0 : m.getIntProperty("JMSXGroupSeq");
                Env.equal(expected, Env.textOf(m) + " " + group + " " + sequence + " " + isFirst(m), "message");
            }
        });
        h.test("message group: sequence -1 closes it, and it may begin anew elsewhere", env -> {
            Session sender = Env.auto(env.connect());
            MessageConsumer one = Env.auto(env.connect()).createConsumer(env.queue());
            send(sender, env.queue(), "a1", "A", 1);
            send(sender, env.queue(), "b1", "B", 1);
            Env.receiveTexts(one, "a1", "b1");
            MessageConsumer two = Env.auto(env.connect()).createConsumer(env.queue());
            send(sender, env.queue(), "a2", "A", 2);
            send(sender, env.queue(), "a end", "A", -1);
            Env.receiveTexts(one, "a2", "a end");
            env.awaitDepth(env.queue(), 0);
            // The other has no group yet, so this one goes there.
            send(sender, env.queue(), "a anew", "A", 0);
            Message anew = Env.receive(two);
            Env.equal("a anew", Env.textOf(anew), "message");
            Env.check(isFirst(anew), "it is the first of its group there");
            send(sender, env.queue(), "b2", "B", 2);
            send(sender, env.queue(), "a anew 2", "A", 0);
            Env.receiveTexts(one, "b2");
            Env.receiveTexts(two, "a anew 2");
            Env.nothing(one);
            Env.nothing(two);
        });
        h.test("message group: a closing consumer releases its groups", env -> {
            Session sender = Env.auto(env.connect());
            MessageConsumer one = Env.auto(env.connect()).createConsumer(env.queue());
            send(sender, env.queue(), "a0", "A", 0);
            Env.receiveTexts(one, "a0");
            MessageConsumer two = Env.auto(env.connect()).createConsumer(env.queue());
            send(sender, env.queue(), "a1", "A", 0);
            Env.receiveTexts(one, "a1");
            Env.nothing(two);
            one.close();
            send(sender, env.queue(), "a2", "A", 0);
            send(sender, env.queue(), "a3", "A", 0);
            Message moved = Env.receive(two);
            Env.equal("a2", Env.textOf(moved), "message");
            Env.check(isFirst(moved), "it is the first at its new consumer");
            Message next = Env.receive(two);
            Env.equal("a3", Env.textOf(next), "message");
            Env.check(!isFirst(next), "and the next one is not");
        });
        h.test("message group: what a lost consumer had moves with its order", env -> {
            Session sender = Env.auto(env.connect());
            ActiveMQConnection lost = env.connect();
            MessageConsumer one = Env.client(lost).createConsumer(env.queue());
            for (int i = 0; i < 6; i++) {
                send(sender, env.queue(), "a" + i, "A", 0);
            }
            Env.receiveTexts(one, "a0", "a1");
            MessageConsumer two = Env.auto(env.connect()).createConsumer(env.queue());
            send(sender, env.queue(), "a6", "A", 0);
            Env.nothing(two);
            Env.cut(lost);
            Env.receiveMany(two, "a", 0, 7);
            Env.nothing(two);
        });
        h.test("message group: a full consumer holds up only its own groups", env -> {
            Session sender = Env.auto(env.connect());
            ActiveMQMessageConsumer full = (ActiveMQMessageConsumer)
                    Env.auto(env.connect("jms.prefetchPolicy.queuePrefetch=1")).createConsumer(env.queue());
            send(sender, env.queue(), "a0", "A", 0);
            Env.await(() -> full.getMessageSize() == 1, "the window is full");
            MessageConsumer other = Env.auto(env.connect()).createConsumer(env.queue());
            for (int i = 1; i < 50; i++) {
                send(sender, env.queue(), "a" + i, "A", 0);
            }
            send(sender, env.queue(), "b", "B", 0);
            Env.send(sender, env.queue(), "none");
            Env.receiveTexts(other, "b", "none");
            Env.nothing(other);
            Env.receiveMany(full, "a", 0, 50);
        });
        h.test("exclusive consumer: it alone gets everything", env -> {
            Session sender = Env.auto(env.connect());
            MessageConsumer before = Env.auto(env.connect()).createConsumer(env.queue());
            MessageConsumer exclusive = consumer(env, "consumer.exclusive=true");
            MessageConsumer after = Env.auto(env.connect()).createConsumer(env.queue());
            Env.sendMany(sender, env.queue(), "m", 20);
            Env.receiveMany(exclusive, "m", 0, 20);
            Env.nothing(before);
            Env.nothing(after);
        });
        h.test("exclusive consumer: the next exclusive one takes over, and then the others", env -> {
            Session sender = Env.auto(env.connect());
            MessageConsumer plain = Env.auto(env.connect()).createConsumer(env.queue());
            MessageConsumer first = consumer(env, "consumer.exclusive=true");
            MessageConsumer second = consumer(env, "consumer.exclusive=true");
            Env.sendMany(sender, env.queue(), "m", 10);
            Env.receiveMany(first, "m", 0, 4);
            Env.nothing(second);
            first.close();
            Env.receiveMany(second, "m", 4, 10);
            Env.nothing(plain);
            Env.send(sender, env.queue(), "n0", "n1");
            Env.receiveTexts(second, "n0");
            second.close();
            Env.receiveTexts(plain, "n1");
        });
        h.test("exclusive consumer: one of higher priority displaces it", env -> {
            Session sender = Env.auto(env.connect());
            MessageConsumer low = consumer(env, "consumer.exclusive=true");
            Env.send(sender, env.queue(), "m0");
            Env.receiveTexts(low, "m0");
            MessageConsumer equal = consumer(env, "consumer.exclusive=true");
            Env.send(sender, env.queue(), "m1");
            Env.receiveTexts(low, "m1");
            MessageConsumer high = consumer(env, "consumer.exclusive=true&consumer.priority=5");
            Env.send(sender, env.queue(), "m2", "m3");
            Env.receiveTexts(high, "m2", "m3");
            Env.nothing(low);
            Env.nothing(equal);
        });
        h.test("consumer priority: the highest is served first, the next while it is full", env -> {
            Session sender = Env.auto(env.connect());
            MessageConsumer low = consumer(env, "consumer.priority=1");
            ActiveMQMessageConsumer high = consumer(env, "consumer.priority=10&consumer.prefetchSize=3");
            MessageConsumer lowest = Env.auto(env.connect()).createConsumer(env.queue());
            Env.sendMany(sender, env.queue(), "m", 8);
            Env.receiveMany(low, "m", 3, 8);
            Env.equal(3, high.getMessageSize(), "what waits at the first");
            Env.receiveMany(high, "m", 0, 3);
            Env.nothing(lowest);
        });
        h.test("consumer priority: the next gets all once the highest is gone", env -> {
            Session sender = Env.auto(env.connect());
            MessageConsumer low = Env.auto(env.connect()).createConsumer(env.queue());
            MessageConsumer high = consumer(env, "consumer.priority=10");
            Env.sendMany(sender, env.queue(), "m", 10);
            Env.receiveMany(high, "m", 0, 5);
            Env.nothing(low);
            high.close();
            Env.receiveMany(low, "m", 5, 10);
            Env.nothing(low);
        });
    }

    private static void sticky(Env env) throws Exception {
        int groups = 12;
        int each = 30;
        BlockingQueue<Arrival> arrivals = new LinkedBlockingQueue<>();
        for (int i = 0; i < 3; i++) {
            int number = i;
            Env.auto(env.connect()).createConsumer(env.queue()).setMessageListener(m -> {
                try {
                    arrivals.add(new Arrival(number, m.getStringProperty("JMSXGroupID"), Env.textOf(m), isFirst(m)));
                } catch (JMSException e) {
                    throw new IllegalStateException(e);
                }
            });
        }
        Session sender = Env.transacted(env.connect());
        for (int round = 0; round < each; round++) {
            for (int group = 0; group < groups; group++) {
                send(sender, env.queue(), "m" + round, "group " + group, 0);
            }
            sender.commit();
        }
        Map<String, Integer> owners = new HashMap<>();
        Map<String, Integer> next = new HashMap<>();
        for (int i = 0; i < groups * each; i++) {
            Arrival arrival = arrivals.poll(Env.WAIT_MS, TimeUnit.MILLISECONDS);
            Env.check(arrival != null, "message " + i + " comes");
            int number = next.merge(arrival.group, 1, Integer::sum) - 1;
            Env.equal("m" + number, arrival.text, arrival.group);
            Env.equal(number == 0, arrival.isFirst, "first of its group");
            Integer owner = owners.putIfAbsent(arrival.group, arrival.consumer);
            Env.check(owner == null || owner == arrival.consumer, arrival.group + " has one consumer");
        }
        Set<Integer> used = new HashSet<>(owners.values());
        Env.equal(Set.of(0, 1, 2), used, "consumers that have groups");
    }

    private static boolean isFirst(Message message) throws JMSException {
        return message.getBooleanProperty("JMSXGroupFirstForConsumer");
    }

    /** A consumer of the case's queue on a connection of its own, with options in the name. */
    private static ActiveMQMessageConsumer consumer(Env env, String options) throws JMSException {
        Destination queue = new ActiveMQQueue(env.queue().getPhysicalName() + "?" + options);
        return (ActiveMQMessageConsumer) Env.auto(env.connect()).createConsumer(queue);
    }

    /** Sends a message of a group; with sequence 0 the message does not say which one of the group it is. */
    private static void send(Session session, Destination to, String text, String group, int sequence)
            throws JMSException {
        MessageProducer producer = session.createProducer(to);
        Message message = session.createTextMessage(text);
        message.setStringProperty("JMSXGroupID", group);
        if (sequence != 0) {
            message.setIntProperty("JMSXGroupSeq", sequence);
        }
        producer.send(message);
        producer.close();
    }
}
