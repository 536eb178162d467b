import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicLong;
import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.command.ActiveMQQueue;

/**
 * Load for the benchmark. One process serves a whole run, so that its compiled code favours nobody. Commands on standard
 * input, one answer line each:
 * <ul>
 * <li>"send URL PRODUCERS CONSUMERS MILLIS": synchronous persistent sends of 1 KB over a connection for each producer;
 *     what is left afterwards is received and counted. Answers "sent COUNT PER_SECOND P50_US P99_US".
 * <li>"preload URL COUNT": fills the queue bench.backlog in transactions. Answers "preloaded COUNT PER_SECOND".
 * </ul>
 */
public final class Load {
    static final int BODY_BYTES = 1024;
    static final long DRAIN_MS_MAX = 60_000;

    public static void main(String[] args) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ");
            String answer;
            try {
                answer = switch (words[0]) {
                    case "send" -> send(words[1], Integer.parseInt(words[2]), Integer.parseInt(words[3]),
                            Long.parseLong(words[4]));
                    case "preload" -> preload(words[1], Integer.parseInt(words[2]));
                    default -> throw new IllegalArgumentException("unknown command " + line);
                };
            } catch (Exception e) {
                answer = "error " + e;
            }
            System.out.println(answer.replace('\n', ' '));
            System.out.flush();
        }
    }

    private static ActiveMQConnection connect(String url) throws Exception {
        // Every failure must end the turn: nobody reconnects behind our back.
        ActiveMQConnection connection = (ActiveMQConnection) new ActiveMQConnectionFactory(url).createConnection();
        connection.start();
        return connection;
    }

    private static String send(String url, int producers, int consumers, long millis) throws Exception {
        Queue queue = new ActiveMQQueue("bench." + System.nanoTime());
        List<Throwable> errors = Collections.synchronizedList(new ArrayList<>());
        AtomicLong received = new AtomicLong();
        List<ActiveMQConnection> connections = new ArrayList<>();
        for (int i = 0; i < consumers; i++) {
            connections.add(receive(url, queue, received));
        }
        long[][] latencies = new long[producers][];
        CyclicBarrier start = new CyclicBarrier(producers);
        List<Thread> threads = new ArrayList<>();
        AtomicLong nanos = new AtomicLong();
        for (int i = 0; i < producers; i++) {
            int number = i;
            Thread thread = new Thread(() -> {
                try {
                    latencies[number] = produce(url, queue, start, millis, nanos);
                } catch (Throwable e) {
                    errors.add(e);
                    start.reset();
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
        if (!errors.isEmpty()) {
            return "error " + errors.get(0);
        }
        long sent = 0;
        for (long[] one : latencies) {
            sent += one.length;
        }
        for (int i = connections.size(); i < 4; i++) {
            connections.add(receive(url, queue, received));
        }
        long end = System.currentTimeMillis() + DRAIN_MS_MAX;
        while (received.get() < sent && System.currentTimeMillis() < end) {
            Thread.sleep(10);
        }
        Thread.sleep(100);
        for (ActiveMQConnection connection : connections) {
            connection.close();
        }
        if (received.get() != sent) {
            return "error sent " + sent + ", received " + received.get();
        }
        return summary(latencies, sent, nanos.get());
    }

    private static String summary(long[][] latencies, long sent, long nanos) {
        long[] all = new long[(int) sent];
        int next = 0;
        for (long[] one : latencies) {
            System.arraycopy(one, 0, all, next, one.length);
            next += one.length;
        }
        Arrays.sort(all);
        return String.format(java.util.Locale.ROOT, "sent %d %.0f %.0f %.0f", sent, sent / (nanos / 1e9),
                all[all.length / 2] / 1e3, all[(int) (all.length * 0.99)] / 1e3);
    }

    /** Sends until the time is over; the latency of each send in nanoseconds. */
    private static long[] produce(String url, Queue queue, CyclicBarrier start, long millis, AtomicLong nanos)
            throws Exception {
        ActiveMQConnection connection = connect(url);
        try {
            Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
            MessageProducer producer = session.createProducer(queue);
            producer.setDeliveryMode(DeliveryMode.PERSISTENT);
            byte[] body = new byte[BODY_BYTES];
            long[] latencies = new long[1 << 14];
            int count = 0;
            start.await();
            long begin = System.nanoTime();
            long end = begin + millis * 1_000_000;
            long now = begin;
            while (now < end) {
                BytesMessage message = session.createBytesMessage();
                message.writeBytes(body);
                producer.send(message);
                long then = System.nanoTime();
                if (count == latencies.length) {
                    latencies = Arrays.copyOf(latencies, count * 2);
                }
                latencies[count++] = then - now;
                now = then;
            }
            nanos.accumulateAndGet(now - begin, Math::max);
            return Arrays.copyOf(latencies, count);
        } finally {
            connection.close();
        }
    }

    private static ActiveMQConnection receive(String url, Queue queue, AtomicLong received) throws Exception {
        ActiveMQConnection connection = connect(url);
        Session session = connection.createSession(false, Session.DUPS_OK_ACKNOWLEDGE);
        MessageConsumer consumer = session.createConsumer(queue);
        consumer.setMessageListener(m -> received.incrementAndGet());
        return connection;
    }

    private static String preload(String url, int count) throws Exception {
        long begin = System.nanoTime();
        int threads = 4;
        List<Thread> all = new ArrayList<>();
        List<Throwable> errors = Collections.synchronizedList(new ArrayList<>());
        for (int t = 0; t < threads; t++) {
            int mine = count / threads + (t < count % threads ? 1 : 0);
            Thread thread = new Thread(() -> {
                try {
                    ActiveMQConnection connection = connect(url);
                    Session session = connection.createSession(true, Session.SESSION_TRANSACTED);
                    MessageProducer producer = session.createProducer(new ActiveMQQueue("bench.backlog"));
                    byte[] body = new byte[BODY_BYTES];
                    for (int i = 1; i <= mine; i++) {
                        BytesMessage message = session.createBytesMessage();
                        message.writeBytes(body);
                        producer.send(message);
                        if (i % 500 == 0 || i == mine) {
                            session.commit();
                        }
                    }
                    connection.close();
                } catch (Throwable e) {
                    errors.add(e);
                }
            });
            thread.start();
            all.add(thread);
        }
        for (Thread thread : all) {
            thread.join();
        }
        if (!errors.isEmpty()) {
            return "error " + errors.get(0);
        }
        return String.format(java.util.Locale.ROOT, "preloaded %d %.0f", count,
                count / ((System.nanoTime() - begin) / 1e9));
    }
}
