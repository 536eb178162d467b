import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TransactionRolledBackException;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.transport.DefaultTransportListener;
import org.apache.activemq.transport.failover.FailoverTransport;

/**
 * Persistent producers and transacted consumers behind a failover: URI with default options, while the runner kills the
 * active broker again and again. Judges the ledger at the end and measures each takeover.
 *
 * <p>The runner says on standard input: "expect PORT" (the next active will listen there), "struck MILLIS" (when it struck, by
 * the clock that System.currentTimeMillis reads too), "finish".
 */
public final class FailoverLoop {
    static final ActiveMQQueue WORK = new ActiveMQQueue("failover.work");
    static final ActiveMQQueue LANE = new ActiveMQQueue("failover.lane");
    static final ActiveMQQueue BACKLOG = new ActiveMQQueue("failover.backlog");
    static final ActiveMQQueue DEAD = new ActiveMQQueue("ActiveMQ.DLQ");
    /** Messages of one transaction of a consumer. */
    static final int BATCH_MAX = 10;
    /** The longest wait for the first acknowledgement after a fault. */
    static final long TAKEOVER_MS_MAX = 60_000;
    /** How long nothing must come before the drain is over. */
    static final long DRAIN_QUIET_MS = 5_000;
    static final long DRAIN_MS_MAX = 120_000;
    /**
     * The client clears its buffers in the background after a loss; until then an application may take a stale message out
     * of them, whose acknowledgement then comes to nothing.
     */
    static final long STALE_NANOS = 2_000_000_000L;

    private final String url;
    private final Ledger ledger;
    private final int producers;
    private final int consumers;
    private final int rate;
    private final List<String> errors = Collections.synchronizedList(new ArrayList<>());
    private volatile boolean isSending = true;
    private volatile boolean isReceiving = true;
    private final AtomicLong lastReceived = new AtomicLong();

    /** The port whose first acknowledgement ends a takeover; 0 between faults. */
    private volatile int expectedPort;
    /** When that acknowledgement came, in milliseconds of the epoch with fractions; 0 until then. */
    private volatile double acknowledgedAt;

    FailoverLoop(String url, int producers, int consumers, int rate) {
        this.url = url;
        this.producers = producers;
        this.consumers = consumers;
        this.rate = rate;
        this.ledger = new Ledger(producers + 1);
    }

    public static void main(String[] args) throws Exception {
        String url = null;
        int producers = 8;
        int consumers = 8;
        int rate = 100;
        int backlog = 0;
        boolean isReference = false;
        for (int i = 0; i < args.length; i++) {
            switch (args[i]) {
                case "--url" -> url = args[++i];
                case "--producers" -> producers = Integer.parseInt(args[++i]);
                case "--consumers" -> consumers = Integer.parseInt(args[++i]);
                case "--rate" -> rate = Integer.parseInt(args[++i]);
                case "--backlog" -> backlog = Integer.parseInt(args[++i]);
                case "--reference" -> isReference = true;
                default -> throw new IllegalArgumentException("unknown option " + args[i]);
            }
        }
        FailoverLoop loop = new FailoverLoop(url, producers, consumers, rate);
        loop.preload(backlog);
        boolean isGood = loop.run(isReference);
        System.exit(isGood ? 0 : 1);
    }

    private ActiveMQConnection connect() throws JMSException {
        ActiveMQConnection connection = (ActiveMQConnection) new ActiveMQConnectionFactory(url).createConnection();
        connection.start();
        return connection;
    }

    /** Fills another queue quickly: large transactions over a few connections. */
    private void preload(int count) throws Exception {
        if (count == 0) {
            return;
        }
        long start = System.nanoTime();
        int threads = 4;
        List<Thread> all = new ArrayList<>();
        for (int t = 0; t < threads; t++) {
            int mine = count / threads + (t < count % threads ? 1 : 0);
            all.add(spawn("preload", () -> {
                ActiveMQConnection connection = connect();
                Session session = connection.createSession(true, Session.SESSION_TRANSACTED);
                MessageProducer producer = session.createProducer(BACKLOG);
                byte[] body = new byte[1024];
                for (int i = 0; i < mine; i++) {
                    BytesMessage message = session.createBytesMessage();
                    message.writeBytes(body);
                    producer.send(message);
                    if (i % 500 == 499) {
                        session.commit();
                    }
                }
                session.commit();
                connection.close();
            }));
        }
        for (Thread thread : all) {
            thread.join();
        }
        if (!errors.isEmpty()) {
            throw new IOException("preloading failed: " + errors);
        }
        double seconds = (System.nanoTime() - start) / 1e9;
        System.out.printf("preloaded %d messages of 1 KB in %.1f s (%.0f/s)%n", count, seconds, count / seconds);
    }

    private boolean run(boolean isReference) throws Exception {
        List<Thread> sending = new ArrayList<>();
        List<Thread> receiving = new ArrayList<>();
        for (int i = 0; i < consumers; i++) {
            int number = i;
            receiving.add(spawn("consumer " + i, () -> consume(number, WORK)));
        }
        receiving.add(spawn("lane consumer", () -> consume(consumers, LANE)));
        for (int i = 0; i < producers; i++) {
            int number = i;
            sending.add(spawn("producer " + i, () -> produce(number, WORK, rate, false)));
        }
        sending.add(spawn("lane producer", () -> produce(producers, LANE, 0, true)));
        TakeoverTimes times = new TakeoverTimes();
        obeyRunner(times);
        isSending = false;
        for (Thread thread : sending) {
            thread.join(TAKEOVER_MS_MAX);
            if (thread.isAlive()) {
                errors.add(thread.getName() + " is still sending");
            }
        }
        drain();
        isReceiving = false;
        for (Thread thread : receiving) {
            thread.join(10_000);
        }
        readDeadLetters();
        times.print();
        boolean isGood = ledger.judge(isReference) && errors.isEmpty();
        for (String error : errors) {
            System.out.println("error: " + error);
        }
        System.out.println(isGood ? "1 passed, 0 failed" : "0 passed, 1 failed");
        return isGood;
    }

    private void obeyRunner(TakeoverTimes times) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        System.out.flush();
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "expect" -> {
                    acknowledgedAt = 0;
                    expectedPort = Integer.parseInt(words[1]);
                    System.out.println("expecting");
                }
                case "struck" -> {
                    double millis = awaitAcknowledgement() - Long.parseLong(words[1]);
                    expectedPort = 0;
                    times.add(millis);
                    System.out.printf("acknowledged after %.0f ms, %d sends so far%n", millis, ledger.sent());
                }
                case "finish" -> {
                    return;
                }
                default -> throw new IOException("unknown command " + line);
            }
            System.out.flush();
        }
    }

    private double awaitAcknowledgement() throws InterruptedException, IOException {
        long end = System.currentTimeMillis() + TAKEOVER_MS_MAX;
        while (acknowledgedAt == 0) {
            if (System.currentTimeMillis() > end) {
                throw new IOException("no send was acknowledged on port " + expectedPort + " within "
                        + TAKEOVER_MS_MAX + " ms; " + errors);
            }
            Thread.sleep(1);
        }
        return acknowledgedAt;
    }

    /** The lane's producer sends without pause: it measures takeovers. */
    private void produce(int number, ActiveMQQueue queue, int rate, boolean isMeasuring) throws Exception {
        ActiveMQConnection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        MessageProducer producer = session.createProducer(queue);
        producer.setDeliveryMode(DeliveryMode.PERSISTENT);
        FailoverTransport transport = connection.getTransport().narrow(FailoverTransport.class);
        long pauseNanos = isMeasuring ? 2_000_000 : rate == 0 ? 0 : 1_000_000_000L / rate;
        long due = System.nanoTime();
        while (isSending) {
            int sequence = ledger.begin(number);
            BytesMessage message = session.createBytesMessage();
            message.setIntProperty("producer", number);
            message.setIntProperty("sequence", sequence);
            message.writeBytes(new byte[1024]);
            producer.send(message);
            double now = nowMillis();
            ledger.acknowledge(number, sequence);
            if (isMeasuring && expectedPort != 0 && acknowledgedAt == 0 && portOf(transport) == expectedPort) {
                acknowledgedAt = now;
            }
            due = Math.max(due + pauseNanos, System.nanoTime() - 5 * pauseNanos);
            LockSupport.parkNanos(due - System.nanoTime());
        }
        connection.close();
    }

    private static double nowMillis() {
        java.time.Instant now = java.time.Instant.now();
        return now.getEpochSecond() * 1e3 + now.getNano() / 1e6;
    }

    private static int portOf(FailoverTransport transport) {
        URI connected = transport.getConnectedTransportURI();
        return connected == null ? -1 : connected.getPort();
    }

    private void consume(int number, ActiveMQQueue queue) throws Exception {
        ActiveMQConnection connection = connect();
        AtomicLong lostAt = noteLosses(connection);
        Session session = connection.createSession(true, Session.SESSION_TRANSACTED);
        MessageConsumer consumer = session.createConsumer(queue);
        List<Ledger.Delivery> batch = new ArrayList<>();
        while (isReceiving) {
            batch.clear();
            long begin = System.nanoTime();
            try {
                Message message = consumer.receive(200);
                while (message != null) {
                    batch.add(ledger.deliver(number, message));
                    lastReceived.set(System.currentTimeMillis());
                    message = batch.size() < BATCH_MAX ? consumer.receive(5) : null;
                }
                if (!batch.isEmpty()) {
                    session.commit();
                    Ledger.settle(batch, lostAt.get() < begin - STALE_NANOS ? Ledger.Outcome.COMMITTED
                            : Ledger.Outcome.COMMITTED_ACROSS_TAKEOVER);
                }
            } catch (TransactionRolledBackException e) {
                // With the answer to a commit lost, nobody knows; otherwise the client itself rolled back.
                boolean isInDoubt = String.valueOf(e.getMessage()).contains("in doubt");
                Ledger.settle(batch, isInDoubt ? Ledger.Outcome.IN_DOUBT : Ledger.Outcome.ROLLED_BACK);
            }
        }
        connection.close();
    }

    /** When this connection was lost last, by System.nanoTime(). */
    private static AtomicLong noteLosses(ActiveMQConnection connection) {
        AtomicLong lostAt = new AtomicLong(System.nanoTime() - TimeUnit.DAYS.toNanos(1));
        connection.addTransportListener(new DefaultTransportListener() {
            @Override
            public void transportInterupted() {
                lostAt.set(System.nanoTime());
            }
        });
        return lostAt;
    }

    private void drain() throws InterruptedException {
        long end = System.currentTimeMillis() + DRAIN_MS_MAX;
        lastReceived.set(System.currentTimeMillis());
        while (System.currentTimeMillis() - lastReceived.get() < DRAIN_QUIET_MS && System.currentTimeMillis() < end) {
            Thread.sleep(50);
        }
    }

    /** Messages that the client gave up on are not lost, but they are not welcome either. */
    private void readDeadLetters() throws JMSException {
        ActiveMQConnection connection = connect();
        Session session = connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
        MessageConsumer consumer = session.createConsumer(DEAD);
        for (Message m = consumer.receive(1_000); m != null; m = consumer.receive(300)) {
            ledger.deadLetter(m);
        }
        connection.close();
    }

    interface Body {
        void run() throws Exception;
    }

    private Thread spawn(String name, Body body) {
        Thread thread = new Thread(() -> {
            try {
                body.run();
            } catch (Throwable e) {
                errors.add(name + ": " + e);
            }
        }, name);
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    /** Milliseconds from each fault to the first acknowledged send on the other broker. */
    static final class TakeoverTimes {
        private final List<Double> all = new ArrayList<>();

        void add(double millis) {
            all.add(millis);
        }

        void print() {
            if (all.isEmpty()) {
                return;
            }
            List<Double> sorted = new ArrayList<>(all);
            Collections.sort(sorted);
            int last = sorted.size() - 1;
            System.out.printf("fault to first acknowledged send: median %.0f ms, min %.0f, p90 %.0f, max %.0f, %d rounds%n",
                    (sorted.get(last / 2) + sorted.get((last + 1) / 2)) / 2, sorted.get(0),
                    sorted.get((int) Math.round(last * 0.9)), sorted.get(last), sorted.size());
        }
    }
}
