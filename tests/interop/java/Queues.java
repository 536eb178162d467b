import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import javax.jms.DeliveryMode;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQMessageConsumer;
import org.apache.activemq.command.ActiveMQQueue;

/** Queues: competing consumers, prefetch, pulls, browsers, expiry, priority, order. */
final class Queues {
    static void run(Harness h) {
        h.test("queue: four competing consumers get disjoint and complete shares", env -> competing(env, ""));
        h.test("queue: competing consumers with prefetch 1",
                env -> competing(env, "jms.prefetchPolicy.queuePrefetch=1"));
        h.test("queue: competing consumers with prefetch 0",
                env -> competing(env, "jms.prefetchPolicy.queuePrefetch=0"));
        h.test("queue: a full prefetch does not starve another consumer", env -> {
            String options = "jms.prefetchPolicy.queuePrefetch=5";
            ActiveMQMessageConsumer idle =
                    (ActiveMQMessageConsumer) Env.auto(env.connect(options)).createConsumer(env.queue());
            Session sender = Env.auto(env.connect());
            Env.sendMany(sender, env.queue(), "m", 5);
            Env.await(() -> idle.getMessageSize() == 5, "the idle consumer's prefetch is full");
            MessageConsumer other = Env.auto(env.connect(options)).createConsumer(env.queue());
            for (int i = 5; i < 50; i++) {
                Env.send(sender, env.queue(), "m" + i);
            }
            Env.receiveMany(other, "m", 5, 50);
        });
        h.test("queue: prefetch 0 pulls one by one", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queuePrefetch=0"));
            Env.sendMany(session, env.queue(), "m", 10);
            MessageConsumer consumer = session.createConsumer(env.queue());
            MessageConsumer other = Env.auto(env.connect()).createConsumer(env.queue(".other"));
            Env.nothing(other);
            Env.equal("m0", Env.textOf(consumer.receiveNoWait()), "receiveNoWait");
            Env.equal("m1", Env.receiveText(consumer), "receive");
            MessageConsumer rest = Env.auto(env.connect()).createConsumer(env.queue());
            Env.receiveMany(rest, "m", 2, 10);
            Env.equal(null, consumer.receiveNoWait(), "receiveNoWait at the end");
        });
        h.test("queue: prefetch 0 waits for a message", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queuePrefetch=0"));
            MessageConsumer consumer = session.createConsumer(env.queue());
            sendLater(env, env.queue(), 300, "late");
            Env.receiveTexts(consumer, "late");
            sendLater(env, env.queue(), 300, "endless");
            Env.equal("endless", Env.textOf(consumer.receive()), "receive without limit");
        });
        h.test("queue: prefetch 0, an abandoned pull takes no message", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queuePrefetch=0"));
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.equal(null, consumer.receive(200), "timed out");
            Env.send(Env.auto(env.connect()), env.queue(), "x");
            Env.receiveTexts(Env.auto(env.connect()).createConsumer(env.queue()), "x");
        });
        h.test("queue: timed receive returns null in time", env -> {
            for (String options : List.of("", "jms.prefetchPolicy.queuePrefetch=0")) {
                MessageConsumer consumer = Env.auto(env.connect(options)).createConsumer(env.queue());
                long start = System.nanoTime();
                Env.equal(null, consumer.receive(500), "nothing");
                long millis = (System.nanoTime() - start) / 1_000_000;
                Env.check(millis >= 450 && millis < 5_000, "returned after 500 ms, not " + millis);
                Env.equal(null, consumer.receiveNoWait(), "receiveNoWait");
            }
        });
        h.test("queue: a blocked receive ends when its consumer closes", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(env.queue());
            CountDownLatch returned = new CountDownLatch(1);
            AtomicReference<Object> result = new AtomicReference<>("none");
            new Thread(() -> {
                try {
                    result.set(consumer.receive());
                } catch (Exception e) {
                    result.set(e);
                }
                returned.countDown();
            }).start();
            Thread.sleep(200);
            consumer.close();
            Env.check(returned.await(5, TimeUnit.SECONDS), "returned");
            Env.equal(null, result.get(), "result");
        });
        h.test("queue: nothing is delivered before start and while stopped", env -> {
            ActiveMQConnection connection = env.open(env.factory(""));
            Session session = Env.auto(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.send(Env.auto(env.connect()), env.queue(), "1", "2");
            Env.nothing(consumer);
            connection.start();
            Env.receiveTexts(consumer, "1");
            connection.stop();
            Env.nothing(consumer);
            connection.start();
            Env.receiveTexts(consumer, "2");
        });
        h.test("queue: browser sees all in order and takes nothing", env -> {
            Session session = Env.auto(env.connect());
            Env.sendMany(session, env.queue(), "m", 100);
            Env.equal(numbered(0, 100), Env.browse(session, env.queue()), "browsed");
            Env.equal(numbered(0, 100), Env.browse(session, env.queue()), "browsed again");
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 100);
            Env.equal(List.of(), Env.browse(session, env.queue()), "browsed at the end");
        });
        h.test("queue: browser with prefetch 0", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queueBrowserPrefetch=0"));
            Env.sendMany(session, env.queue(), "m", 7);
            Env.equal(numbered(0, 7), Env.browse(session, env.queue()), "browsed");
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 7);
        });
        h.test("queue: browser with a small prefetch", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queueBrowserPrefetch=10"));
            Env.sendMany(session, env.queue(), "m", 95);
            Env.equal(numbered(0, 95), Env.browse(session, env.queue()), "browsed");
        });
        h.test("queue: browser sees more than its prefetch", env -> {
            Session session = Env.transacted(env.connect());
            Env.sendMany(session, env.queue(), "m", 1200);
            session.commit();
            Env.equal(numbered(0, 1200), env.browse(env.queue()), "browsed");
        });
        h.test("queue: browser beside sends in progress ends", env -> {
            Env.sendMany(Env.auto(env.connect()), env.queue(), "m", 50);
            Session sender = Env.auto(env.connect("jms.useAsyncSend=true"));
            CountDownLatch browsed = new CountDownLatch(1);
            Thread thread = new Thread(() -> {
                try {
                    for (int i = 50; browsed.getCount() > 0 && i < 20_000; i++) {
                        Env.send(sender, env.queue(), "m" + i);
                    }
                } catch (Exception e) {
                    throw new RuntimeException(e);
                }
            });
            thread.setDaemon(true);
            thread.start();
            List<String> seen = env.browse(env.queue());
            browsed.countDown();
            thread.join(Env.WAIT_MS);
            Env.equal(numbered(0, 50), seen.subList(0, 50), "what was there");
        });
        h.test("queue: browser closed half-way", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queueBrowserPrefetch=10"));
            Env.sendMany(session, env.queue(), "m", 50);
            javax.jms.QueueBrowser browser = session.createBrowser(env.queue());
            java.util.Enumeration<?> all = browser.getEnumeration();
            for (int i = 0; i < 5; i++) {
                Env.equal("m" + i, Env.textOf((Message) all.nextElement()), "browsed");
            }
            browser.close();
            Env.receiveMany(session.createConsumer(env.queue()), "m", 0, 50);
        });
        h.test("queue: browser beside a consumer", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queuePrefetch=3"));
            Env.sendMany(session, env.queue(), "m", 10);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 1);
            List<String> seen = env.browse(env.queue());
            Env.check(seen.containsAll(numbered(4, 10)), "browser sees what is pending: " + seen);
            Env.receiveMany(consumer, "m", 1, 10);
        });
        h.test("queue: expired messages are not delivered", env -> {
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(env.queue());
            producer.send(session.createTextMessage("dead"), DeliveryMode.PERSISTENT, 4, 200);
            producer.send(session.createTextMessage("dead too"), DeliveryMode.NON_PERSISTENT, 4, 200);
            producer.send(session.createTextMessage("alive"), DeliveryMode.PERSISTENT, 4, 600_000);
            producer.send(session.createTextMessage("eternal"));
            Thread.sleep(600);
            Env.equal(List.of("alive", "eternal"), env.browse(env.queue()), "browsed");
            MessageConsumer consumer = session.createConsumer(env.queue());
            Env.receiveTexts(consumer, "alive", "eternal");
            Env.nothing(consumer);
        });
        h.test("queue: messages that expire at a consumer are not given to the application", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            MessageProducer producer = session.createProducer(env.queue());
            producer.send(session.createTextMessage("dead"), DeliveryMode.PERSISTENT, 4, 300);
            producer.send(session.createTextMessage("alive"));
            Thread.sleep(700);
            Env.receiveTexts(consumer, "alive");
            Env.nothing(consumer);
            connection.close();
            Env.equal(List.of(), env.browse(env.queue()), "rest");
        });
        h.test("queue: expired messages are skipped by pulls", env -> {
            Session session = Env.auto(env.connect("jms.prefetchPolicy.queuePrefetch=0"));
            MessageProducer producer = session.createProducer(env.queue());
            producer.send(session.createTextMessage("dead"), DeliveryMode.PERSISTENT, 4, 100);
            producer.send(session.createTextMessage("alive"));
            Thread.sleep(400);
            Env.receiveTexts(session.createConsumer(env.queue()), "alive");
        });
        h.test("queue: priority header is kept", env -> {
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(env.queue());
            for (int priority = 0; priority < 10; priority++) {
                producer.send(session.createTextMessage("p" + priority), DeliveryMode.PERSISTENT, priority, 0);
            }
            MessageConsumer consumer = session.createConsumer(env.queue());
            Set<Integer> seen = new TreeSet<>();
            for (int i = 0; i < 10; i++) {
                Message m = Env.receive(consumer);
                Env.equal("p" + m.getJMSPriority(), Env.textOf(m), "priority");
                seen.add(m.getJMSPriority());
            }
            Env.equal(10, seen.size(), "priorities");
        });
        h.test("queue: order of each producer is kept", Queues::producerOrder);
        h.test("queue: persistent and non-persistent messages each keep their order", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.queue());
            MessageProducer producer = session.createProducer(env.queue());
            for (int i = 0; i < 200; i++) {
                producer.setDeliveryMode(i % 2 == 0 ? DeliveryMode.PERSISTENT : DeliveryMode.NON_PERSISTENT);
                producer.send(session.createTextMessage("m" + i));
            }
            int[] next = {0, 1};
            for (int i = 0; i < 200; i++) {
                Message m = Env.receive(consumer);
                int kind = m.getJMSDeliveryMode() == DeliveryMode.PERSISTENT ? 0 : 1;
                Env.equal("m" + next[kind], Env.textOf(m), "message");
                next[kind] += 2;
            }
        });
        h.test("queue: 20,000 non-persistent messages", env -> {
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(env.queue());
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            for (int i = 0; i < 20_000; i++) {
                producer.send(session.createTextMessage("m" + i));
            }
            Env.receiveMany(Env.auto(env.connect()).createConsumer(env.queue()), "m", 0, 20_000);
        });
        h.test("queue: two consumers of one session", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer one = session.createConsumer(env.queue("1"));
            MessageConsumer two = session.createConsumer(env.queue("2"));
            Env.sendMany(session, env.queue("1"), "a", 5);
            Env.sendMany(session, env.queue("2"), "b", 5);
            for (int i = 0; i < 5; i++) {
                Env.receiveTexts(two, "b" + i);
                Env.receiveTexts(one, "a" + i);
            }
        });
        h.test("queue: a consumer created inside a listener", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            CountDownLatch inner = new CountDownLatch(1);
            session.createConsumer(env.queue("1")).setMessageListener(m -> {
                try {
                    session.createConsumer(env.queue("2")).setMessageListener(n -> inner.countDown());
                    Env.send(session, env.queue("2"), "inner");
                } catch (Exception e) {
                    throw new RuntimeException(e);
                }
            });
            Env.send(Env.auto(connection), env.queue("1"), "outer");
            Env.check(inner.await(Env.WAIT_MS, TimeUnit.MILLISECONDS), "the inner listener was called");
        });
        h.test("queue: created on first use by a consumer", env -> {
            MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.queue());
            Env.nothing(consumer);
            Env.send(Env.auto(env.connect()), env.queue(), "x");
            Env.receiveTexts(consumer, "x");
        });
        h.test("queue: names with dots, slashes, blanks and non-ASCII are distinct", env -> {
            Session session = Env.auto(env.connect());
            List<String> names = List.of(".a", ".A", "/b", " c d", "-\u00e9\u20ac", "#x", "%20");
            for (String suffix : names) {
                Env.send(session, env.queue(suffix), suffix);
            }
            for (String suffix : names) {
                Env.equal(List.of(suffix), env.browse(env.queue(suffix)), "queue " + suffix);
            }
        });
        h.test("queue: a queue and a topic of one name are two", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer topic = session.createConsumer(env.topic());
            Env.send(session, env.queue(), "q");
            Env.nothing(topic);
            Env.send(session, env.topic(), "t");
            Env.receiveTexts(topic, "t");
            Env.equal(List.of("q"), env.browse(env.queue()), "queue");
        });
        h.test("queue: an anonymous producer sends to many queues", env -> {
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(null);
            for (int i = 0; i < 20; i++) {
                producer.send(env.queue("." + i), session.createTextMessage("m" + i));
            }
            for (int i = 0; i < 20; i++) {
                Env.equal(List.of("m" + i), env.browse(env.queue("." + i)), "queue " + i);
            }
        });
        h.test("queue: prefetch given in the destination name", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.client(connection);
            ActiveMQQueue narrow = new ActiveMQQueue(env.queue().getPhysicalName() + "?consumer.prefetchSize=2");
            Env.sendMany(session, env.queue(), "m", 6);
            MessageConsumer first = session.createConsumer(narrow);
            Env.receiveMany(first, "m", 0, 1);
            MessageConsumer second = Env.auto(env.connect()).createConsumer(env.queue());
            // The first consumer has m0 in hand and, as its application took one, up to two more.
            Set<String> rest = new TreeSet<>();
            for (Message m = second.receive(1_000); m != null; m = second.receive(Env.QUIET_MS)) {
                rest.add(Env.textOf(m));
            }
            Env.check(rest.containsAll(numbered(3, 6)), "the others got through: " + rest);
        });
    }

    private static void competing(Env env, String options) throws Exception {
        int count = 1200;
        Set<String> seen = ConcurrentHashMap.newKeySet();
        AtomicInteger total = new AtomicInteger();
        AtomicInteger busy = new AtomicInteger();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            MessageConsumer consumer = Env.auto(env.connect(options)).createConsumer(env.queue());
            threads.add(new Thread(() -> {
                int mine = 0;
                try {
                    while (total.get() < count) {
                        Message m = consumer.receive(200);
                        if (m != null) {
                            mine++;
                            total.incrementAndGet();
                            seen.add(Env.textOf(m));
                        }
                    }
                } catch (Exception e) {
                    seen.add(e.toString());
                }
                if (mine > 0) {
                    busy.incrementAndGet();
                }
            }));
        }
        for (Thread thread : threads) {
            thread.start();
        }
        Session session = Env.transacted(env.connect());
        MessageProducer producer = session.createProducer(env.queue());
        for (int i = 0; i < count; i++) {
            producer.send(session.createTextMessage("m" + i));
            if (i % 50 == 49) {
                session.commit();
            }
        }
        session.commit();
        for (Thread thread : threads) {
            thread.join(Env.WAIT_MS * 2);
        }
        Env.equal(count, total.get(), "deliveries");
        Env.equal(Set.copyOf(numbered(0, count)), seen, "distinct messages");
        Env.check(busy.get() >= 2, "more than one consumer got messages");
        env.awaitDepth(env.queue(), 0);
    }

    private static void producerOrder(Env env) throws Exception {
        int producers = 4;
        int each = 250;
        List<Thread> threads = new ArrayList<>();
        List<Throwable> errors = Collections.synchronizedList(new ArrayList<>());
        for (int p = 0; p < producers; p++) {
            Session session = Env.auto(env.connect());
            String prefix = p + ":";
            threads.add(new Thread(() -> {
                try {
                    Env.sendMany(session, env.queue(), prefix, each);
                } catch (Exception e) {
                    errors.add(e);
                }
            }));
        }
        for (Thread thread : threads) {
            thread.start();
        }
        int[] next = new int[producers];
        MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.queue());
        for (int i = 0; i < producers * each; i++) {
            String[] parts = Env.receiveText(consumer).split(":");
            int producer = Integer.parseInt(parts[0]);
            Env.equal(next[producer]++, Integer.parseInt(parts[1]), "sequence of producer " + producer);
        }
        for (Thread thread : threads) {
            thread.join(Env.WAIT_MS);
        }
        Env.equal(List.of(), errors, "errors of the producers");
    }

    private static void sendLater(Env env, ActiveMQQueue queue, long millis, String text) throws Exception {
        Session session = Env.auto(env.connect());
        Thread thread = new Thread(() -> {
            try {
                Thread.sleep(millis);
                Env.send(session, queue, text);
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    static List<String> numbered(int from, int to) {
        List<String> texts = new ArrayList<>();
        for (int i = from; i < to; i++) {
            texts.add("m" + i);
        }
        return texts;
    }
}
