import java.util.ArrayList;
import java.util.Enumeration;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import javax.jms.Connection;
import javax.jms.Destination;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.QueueBrowser;
import javax.jms.Session;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTopic;

/** What one case works with: connections that are closed after it, destination names of its own, assertions. */
final class Env {
    /** The longest wait for something that must come. */
    static final long WAIT_MS = 20_000;
    /** How long nothing must come before we believe that nothing comes. */
    static final long QUIET_MS = 400;

    private static final AtomicLong NONCE = new AtomicLong(System.currentTimeMillis());

    final Broker broker;
    private final String name;
    private final List<Connection> connections = new CopyOnWriteArrayList<>();

    Env(Broker broker, String caseName) {
        this.broker = broker;
        this.name = caseName.replaceAll("[^A-Za-z0-9]+", "-") + "-" + NONCE.incrementAndGet();
    }

    // Connections.

    ActiveMQConnectionFactory factory(String options) {
        return factoryTo(broker.url() + (options.isEmpty() ? "" : "?" + options));
    }

    static ActiveMQConnectionFactory factoryTo(String url) {
        ActiveMQConnectionFactory factory = new ActiveMQConnectionFactory(url);
        factory.setTrustAllPackages(true);
        return factory;
    }

    /** A started connection to the active broker. */
    ActiveMQConnection connect() throws JMSException {
        return connect("");
    }

    /** A started connection with URI options such as jms.useCompression=true. */
    ActiveMQConnection connect(String options) throws JMSException {
        return start(open(factory(options)));
    }

    /** A started connection through a failover: URI of all members. */
    ActiveMQConnection connectFailover() throws JMSException {
        return start(open(factoryTo(broker.failoverUrl)));
    }

    ActiveMQConnection connectAs(String clientId) throws JMSException {
        ActiveMQConnection connection = open(factory(""));
        connection.setClientID(clientId);
        return start(connection);
    }

    void closeLater(Connection connection) {
        connections.add(connection);
    }

    ActiveMQConnection open(ActiveMQConnectionFactory factory) throws JMSException {
        ActiveMQConnection connection = (ActiveMQConnection) factory.createConnection();
        connections.add(connection);
        return connection;
    }

    static ActiveMQConnection start(ActiveMQConnection connection) throws JMSException {
        connection.start();
        return connection;
    }

    static Session auto(Connection connection) throws JMSException {
        return connection.createSession(false, Session.AUTO_ACKNOWLEDGE);
    }

    static Session transacted(Connection connection) throws JMSException {
        return connection.createSession(true, Session.SESSION_TRANSACTED);
    }

    static Session client(Connection connection) throws JMSException {
        return connection.createSession(false, Session.CLIENT_ACKNOWLEDGE);
    }

    /** Loses the socket without a word of farewell, as a killed client does. */
    static void cut(ActiveMQConnection connection) throws Exception {
        java.net.Socket socket = connection.getTransport().narrow(java.net.Socket.class);
        if (socket == null) {
            throw new AssertionError("this client does not show its socket");
        }
        socket.close();
    }

    void closeConnections() {
        Thread closer = new Thread(() -> {
            for (Connection connection : connections) {
                try {
                    connection.close();
                } catch (JMSException e) {
                    // The case has its verdict already.
                }
            }
        }, "closer");
        closer.setDaemon(true);
        closer.start();
        try {
            closer.join(5_000);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    // Destinations.

    ActiveMQQueue queue() {
        return queue("");
    }

    ActiveMQQueue queue(String suffix) {
        return new ActiveMQQueue("interop." + name + suffix);
    }

    ActiveMQTopic topic() {
        return new ActiveMQTopic("interop." + name);
    }

    ActiveMQTopic topic(String suffix) {
        return new ActiveMQTopic("interop." + name + suffix);
    }

    String unique(String what) {
        return what + "-" + name;
    }

    // Sending and receiving.

    static void send(Session session, Destination to, String... texts) throws JMSException {
        MessageProducer producer = session.createProducer(to);
        for (String text : texts) {
            producer.send(session.createTextMessage(text));
        }
        producer.close();
    }

    /** Sends prefix0 .. prefix(count-1). */
    static void sendMany(Session session, Destination to, String prefix, int count) throws JMSException {
        MessageProducer producer = session.createProducer(to);
        for (int i = 0; i < count; i++) {
            producer.send(session.createTextMessage(prefix + i));
        }
        producer.close();
    }

    /** The next message, which must come. */
    static Message receive(MessageConsumer consumer) throws JMSException {
        Message message = consumer.receive(WAIT_MS);
        if (message == null) {
            throw new AssertionError("no message within " + WAIT_MS + " ms");
        }
        return message;
    }

    static String receiveText(MessageConsumer consumer) throws JMSException {
        return textOf(receive(consumer));
    }

    static String textOf(Message message) throws JMSException {
        return ((TextMessage) message).getText();
    }

    /** Receives exactly these texts in this order. */
    static void receiveTexts(MessageConsumer consumer, String... texts) throws JMSException {
        for (int i = 0; i < texts.length; i++) {
            equal(texts[i], receiveText(consumer), "message " + i);
        }
    }

    static void receiveMany(MessageConsumer consumer, String prefix, int from, int to) throws JMSException {
        for (int i = from; i < to; i++) {
            equal(prefix + i, receiveText(consumer), "message " + i);
        }
    }

    static void nothing(MessageConsumer consumer) throws JMSException {
        Message message = consumer.receive(QUIET_MS);
        if (message != null) {
            throw new AssertionError("unexpected message " + message.getJMSMessageID()
                    + (message instanceof TextMessage ? " " + abbreviate(textOf(message)) : ""));
        }
    }

    /** What is in the queue, seen by a browser of its own connection. */
    List<String> browse(Queue queue) throws JMSException {
        Connection connection = connect();
        try {
            return browse(auto(connection), queue);
        } finally {
            connection.close();
        }
    }

    static List<String> browse(Session session, Queue queue) throws JMSException {
        QueueBrowser browser = session.createBrowser(queue);
        List<String> texts = new ArrayList<>();
        Enumeration<?> all = browser.getEnumeration();
        while (all.hasMoreElements()) {
            texts.add(textOf((Message) all.nextElement()));
        }
        browser.close();
        return texts;
    }

    /** Waits until the queue shows this many messages to a browser. */
    void awaitDepth(Queue queue, int count) throws Exception {
        await(() -> browse(queue).size() == count, "depth " + count + " of " + queue);
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static void await(Condition condition, String what) throws Exception {
        long end = System.nanoTime() + WAIT_MS * 1_000_000;
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("never came true: " + what);
            }
            Thread.sleep(20);
        }
    }

    // Assertions.

    static void equal(Object expected, Object actual, String what) {
        if (!Objects.deepEquals(expected, actual)) {
            throw new AssertionError(what + ": expected " + abbreviate(expected) + ", got " + abbreviate(actual));
        }
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError("not so: " + what);
        }
    }

    interface Action {
        void run() throws Exception;
    }

    /** The action must fail with this kind of exception; returns it. */
    static <T extends Throwable> T fails(Class<T> kind, Action action) {
        try {
            action.run();
        } catch (Throwable error) {
            if (kind.isInstance(error)) {
                return kind.cast(error);
            }
            throw new AssertionError("expected " + kind.getName() + ", got " + error, error);
        }
        throw new AssertionError("expected " + kind.getName() + ", but nothing was thrown");
    }

    private static String abbreviate(Object value) {
        String text = String.valueOf(value);
        return text.length() <= 120 ? text : text.substring(0, 120) + "... (" + text.length() + " chars)";
    }
}
