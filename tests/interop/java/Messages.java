import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.MapMessage;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageEOFException;
import javax.jms.MessageProducer;
import javax.jms.ObjectMessage;
import javax.jms.Session;
import javax.jms.StreamMessage;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ScheduledMessage;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;

/** Every message type, body, property and header comes out as it went in. */
final class Messages {
    private static final String NON_ASCII = "a\u0000\u007f\u00e9\u07ff\u20ac\ud83d\ude00 \ud800 end";

    /** Within maps and properties the Java client itself loses what is beyond the basic plane. */
    private static final String BASIC_PLANE = "a\u007f\u00e9\u07ff\u20ac end";

    interface Fill {
        Message make(Session session) throws Exception;
    }

    interface Look {
        void at(Message message) throws Exception;
    }

    static void run(Harness h) {
        types(h, "", "");
        types(h, " compressed", "jms.useCompression=true");
        h.test("message: 5 MB text body", env -> roundTrip(env, "", true,
                s -> s.createTextMessage(big(5 << 20)),
                m -> Env.equal(big(5 << 20), Env.textOf(m), "text")));
        h.test("message: 5 MB bytes body, not persistent", env -> roundTrip(env, "", false, s -> {
            BytesMessage m = s.createBytesMessage();
            m.writeBytes(random(5 << 20));
            return m;
        }, m -> Env.equal(random(5 << 20), bytesOf(m), "bytes")));
        h.test("message: 5 MB body to a topic", env -> {
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(env.topic());
            Env.send(session, env.topic(), big(5 << 20));
            Env.equal(big(5 << 20), Env.receiveText(consumer), "text");
        });
        h.test("message: properties of each type", env -> roundTrip(env, "", true, Messages::withProperties,
                Messages::checkProperties));
        h.test("message: properties of each type, not persistent", env -> roundTrip(env, "", false,
                Messages::withProperties, Messages::checkProperties));
        h.test("message: long and non-ASCII properties", env -> roundTrip(env, "", true, s -> {
            Message m = s.createMessage();
            m.setStringProperty("long", big(20_000));
            m.setStringProperty("longer", big(100_000));
            m.setStringProperty("text", BASIC_PLANE);
            m.setStringProperty("\u00fcmlaut", "x");
            m.setStringProperty("empty", "");
            m.setObjectProperty("none", null);
            m.setObjectProperty("map", new HashMap<>(Map.of("k", 1)));
            m.setObjectProperty("list", new ArrayList<>(Arrays.asList("a", 2L)));
            return m;
        }, m -> {
            Env.equal(big(20_000), m.getStringProperty("long"), "long");
            Env.equal(big(100_000), m.getStringProperty("longer"), "longer");
            Env.equal(BASIC_PLANE, m.getStringProperty("text"), "text");
            Env.equal("x", m.getStringProperty("\u00fcmlaut"), "name");
            Env.equal("", m.getStringProperty("empty"), "empty");
            Env.equal(null, m.getObjectProperty("none"), "null property");
            Env.equal(1, ((Map<?, ?>) m.getObjectProperty("map")).get("k"), "map property");
            Env.equal(Arrays.asList("a", 2L), m.getObjectProperty("list"), "list property");
        }));
        h.test("message: headers round trip", Messages::headers);
        h.test("message: temporary and topic destinations as JMSReplyTo", env -> {
            Session session = Env.auto(env.connect());
            for (javax.jms.Destination to : List.of(env.queue("r"), env.topic("r"),
                    session.createTemporaryQueue(), session.createTemporaryTopic())) {
                TextMessage message = session.createTextMessage("x");
                message.setJMSReplyTo(to);
                session.createProducer(env.queue()).send(message);
                MessageConsumer consumer = session.createConsumer(env.queue());
                Env.equal(to, Env.receive(consumer).getJMSReplyTo(), "JMSReplyTo");
                consumer.close();
            }
        });
        h.test("message: group headers round trip", env -> roundTrip(env, "", true, s -> {
            Message m = s.createTextMessage("x");
            m.setStringProperty("JMSXGroupID", "g1");
            m.setIntProperty("JMSXGroupSeq", 7);
            return m;
        }, m -> {
            Env.equal("g1", m.getStringProperty("JMSXGroupID"), "JMSXGroupID");
            Env.equal(7, m.getIntProperty("JMSXGroupSeq"), "JMSXGroupSeq");
        }));
        h.test("message: ids are unique and survive", env -> {
            Session session = Env.auto(env.connect());
            MessageProducer producer = session.createProducer(env.queue());
            Set<String> sent = new HashSet<>();
            for (int i = 0; i < 50; i++) {
                Message m = session.createTextMessage("x");
                producer.send(m);
                sent.add(m.getJMSMessageID());
            }
            Env.equal(50, sent.size(), "distinct ids");
            MessageConsumer consumer = session.createConsumer(env.queue());
            Set<String> got = new HashSet<>();
            for (int i = 0; i < 50; i++) {
                got.add(Env.receive(consumer).getJMSMessageID());
            }
            Env.equal(sent, got, "ids");
        });
        h.test("message: forwarded to another queue keeps body and gets a new id", env -> {
            Session session = Env.auto(env.connect());
            Env.send(session, env.queue("1"), "relay");
            Message first = Env.receive(session.createConsumer(env.queue("1")));
            String id = first.getJMSMessageID();
            session.createProducer(env.queue("2")).send(first);
            Message second = Env.receive(session.createConsumer(env.queue("2")));
            Env.equal("relay", Env.textOf(second), "text");
            Env.equal(env.queue("2"), second.getJMSDestination(), "destination");
            Env.check(!id.equals(second.getJMSMessageID()), "new id");
        });
        h.test("message: 1,500 bodies of 40 KB come back intact and in order", Messages::largeBacklog);
        h.test("message: stored messages keep type, properties and headers when read later", env -> {
            Session session = Env.auto(env.connect());
            session.createProducer(env.queue()).send(withProperties(session));
            session.createProducer(env.queue()).send(mapMessage(session));
            session.createProducer(env.queue()).send(streamMessage(session));
            for (int i = 0; i < 3; i++) {
                env.browse(env.queue(".other"));
            }
            MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.queue());
            checkProperties(Env.receive(consumer));
            checkMap(Env.receive(consumer));
            checkStream(Env.receive(consumer));
        });
    }

    private static void types(Harness h, String suffix, String options) {
        h.test("message: text" + suffix, env -> roundTrip(env, options, true,
                s -> s.createTextMessage("Grüße " + NON_ASCII + big(3000)),
                m -> Env.equal("Grüße " + NON_ASCII + big(3000), Env.textOf(m), "text")));
        h.test("message: text, empty body" + suffix, env -> roundTrip(env, options, true,
                s -> s.createTextMessage(""), m -> Env.equal("", Env.textOf(m), "text")));
        h.test("message: text, null body" + suffix, env -> roundTrip(env, options, true,
                s -> s.createTextMessage(), m -> Env.equal(null, Env.textOf(m), "text")));
        h.test("message: bytes" + suffix, env -> roundTrip(env, options, true, Messages::bytesMessage,
                Messages::checkBytes));
        h.test("message: bytes, empty body" + suffix, env -> roundTrip(env, options, true,
                s -> s.createBytesMessage(), m -> Env.equal(0L, ((BytesMessage) m).getBodyLength(), "length")));
        h.test("message: map" + suffix, env -> roundTrip(env, options, true, Messages::mapMessage,
                Messages::checkMap));
        h.test("message: map, empty body" + suffix, env -> roundTrip(env, options, true,
                s -> s.createMapMessage(),
                m -> Env.check(!((MapMessage) m).getMapNames().hasMoreElements(), "no entries")));
        h.test("message: stream" + suffix, env -> roundTrip(env, options, true, Messages::streamMessage,
                Messages::checkStream));
        h.test("message: stream, empty body" + suffix, env -> roundTrip(env, options, true,
                s -> s.createStreamMessage(),
                m -> Env.fails(MessageEOFException.class, () -> ((StreamMessage) m).readObject())));
        h.test("message: object" + suffix, env -> roundTrip(env, options, true,
                s -> s.createObjectMessage(new ArrayList<>(Arrays.asList("one", 2, NON_ASCII))),
                m -> Env.equal(Arrays.asList("one", 2, NON_ASCII), ((ObjectMessage) m).getObject(), "object")));
        h.test("message: object, null body" + suffix, env -> roundTrip(env, options, true,
                s -> s.createObjectMessage(), m -> Env.equal(null, ((ObjectMessage) m).getObject(), "object")));
        h.test("message: plain message without body" + suffix, env -> roundTrip(env, options, true,
                s -> s.createMessage(), m -> {
                    Env.check(m instanceof ActiveMQMessage, "a message");
                    Env.check(!(m instanceof TextMessage), "no text message");
                }));
    }

    /** Sends one message, persistent or not, receives it over another connection and looks at it. */
    private static void roundTrip(Env env, String options, boolean persistent, Fill fill, Look look)
            throws Exception {
        Session session = Env.auto(env.connect(options));
        MessageProducer producer = session.createProducer(env.queue());
        producer.setDeliveryMode(persistent ? DeliveryMode.PERSISTENT : DeliveryMode.NON_PERSISTENT);
        Message sent = fill.make(session);
        producer.send(sent);
        Session other = Env.auto(env.connect());
        Message got = Env.receive(other.createConsumer(env.queue()));
        Env.equal(sent.getClass(), got.getClass(), "class");
        Env.equal(sent.getJMSMessageID(), got.getJMSMessageID(), "id");
        Env.equal(producer.getDeliveryMode(), got.getJMSDeliveryMode(), "delivery mode");
        Env.equal(false, got.getJMSRedelivered(), "redelivered");
        Env.equal(1, got.getIntProperty("JMSXDeliveryCount"), "JMSXDeliveryCount");
        look.at(got);
    }

    private static Message bytesMessage(Session session) throws Exception {
        BytesMessage m = session.createBytesMessage();
        m.writeBoolean(true);
        m.writeByte((byte) -3);
        m.writeShort((short) -300);
        m.writeChar('\u20ac');
        m.writeInt(Integer.MIN_VALUE);
        m.writeLong(Long.MAX_VALUE);
        m.writeFloat(1.5f);
        m.writeDouble(-2.25);
        m.writeUTF(NON_ASCII);
        m.writeBytes(random(2000));
        return m;
    }

    private static void checkBytes(Message message) throws Exception {
        BytesMessage m = (BytesMessage) message;
        Env.equal(true, m.readBoolean(), "boolean");
        Env.equal((byte) -3, m.readByte(), "byte");
        Env.equal((short) -300, m.readShort(), "short");
        Env.equal('\u20ac', m.readChar(), "char");
        Env.equal(Integer.MIN_VALUE, m.readInt(), "int");
        Env.equal(Long.MAX_VALUE, m.readLong(), "long");
        Env.equal(1.5f, m.readFloat(), "float");
        Env.equal(-2.25, m.readDouble(), "double");
        Env.equal(NON_ASCII, m.readUTF(), "UTF");
        byte[] rest = new byte[3000];
        Env.equal(2000, m.readBytes(rest), "length of the rest");
        Env.equal(random(2000), Arrays.copyOf(rest, 2000), "rest");
    }

    private static byte[] bytesOf(Message message) throws Exception {
        BytesMessage m = (BytesMessage) message;
        byte[] body = new byte[(int) m.getBodyLength()];
        m.readBytes(body);
        return body;
    }

    private static Message mapMessage(Session session) throws Exception {
        MapMessage m = session.createMapMessage();
        m.setBoolean("boolean", true);
        m.setByte("byte", (byte) -1);
        m.setShort("short", Short.MIN_VALUE);
        m.setChar("char", '\u00e9');
        m.setInt("int", 42);
        m.setLong("long", -42L);
        m.setFloat("float", 0.5f);
        m.setDouble("double", Double.MIN_VALUE);
        m.setString("string", BASIC_PLANE);
        m.setString("null", null);
        m.setString("big", big(70_000));
        m.setBytes("bytes", random(100));
        m.setObject("map", new HashMap<>(Map.of("inner", "value")));
        return m;
    }

    private static void checkMap(Message message) throws Exception {
        MapMessage m = (MapMessage) message;
        Env.equal(true, m.getBoolean("boolean"), "boolean");
        Env.equal((byte) -1, m.getByte("byte"), "byte");
        Env.equal(Short.MIN_VALUE, m.getShort("short"), "short");
        Env.equal('\u00e9', m.getChar("char"), "char");
        Env.equal(42, m.getInt("int"), "int");
        Env.equal(-42L, m.getLong("long"), "long");
        Env.equal(0.5f, m.getFloat("float"), "float");
        Env.equal(Double.MIN_VALUE, m.getDouble("double"), "double");
        Env.equal(BASIC_PLANE, m.getString("string"), "string");
        Env.equal(null, m.getString("null"), "null");
        Env.equal(big(70_000), m.getString("big"), "big string");
        Env.equal(random(100), m.getBytes("bytes"), "bytes");
        Env.equal("value", ((Map<?, ?>) m.getObject("map")).get("inner"), "nested map");
        Env.equal(13, Collections.list(m.getMapNames()).size(), "number of entries");
    }

    private static Message streamMessage(Session session) throws Exception {
        StreamMessage m = session.createStreamMessage();
        m.writeBoolean(false);
        m.writeByte((byte) 9);
        m.writeShort((short) 10);
        m.writeChar('x');
        m.writeInt(11);
        m.writeLong(12L);
        m.writeFloat(13.5f);
        m.writeDouble(14.5);
        m.writeString(NON_ASCII);
        m.writeString(big(9000));
        m.writeObject(null);
        m.writeBytes(random(5000));
        return m;
    }

    private static void checkStream(Message message) throws Exception {
        StreamMessage m = (StreamMessage) message;
        Env.equal(false, m.readBoolean(), "boolean");
        Env.equal((byte) 9, m.readByte(), "byte");
        Env.equal((short) 10, m.readShort(), "short");
        Env.equal('x', m.readChar(), "char");
        Env.equal(11, m.readInt(), "int");
        Env.equal(12L, m.readLong(), "long");
        Env.equal(13.5f, m.readFloat(), "float");
        Env.equal(14.5, m.readDouble(), "double");
        Env.equal(NON_ASCII, m.readString(), "string");
        Env.equal(big(9000), m.readString(), "big string");
        Env.equal(null, m.readObject(), "null");
        byte[] bytes = new byte[6000];
        Env.equal(5000, m.readBytes(bytes), "bytes read");
        Env.equal(random(5000), Arrays.copyOf(bytes, 5000), "bytes");
    }

    private static Message withProperties(Session session) throws Exception {
        TextMessage m = session.createTextMessage("body");
        m.setBooleanProperty("boolean", true);
        m.setByteProperty("byte", (byte) 1);
        m.setShortProperty("short", (short) -2);
        m.setIntProperty("int", Integer.MAX_VALUE);
        m.setLongProperty("long", Long.MIN_VALUE);
        m.setFloatProperty("float", -0.0f);
        m.setDoubleProperty("double", Math.PI);
        m.setStringProperty("string", "text");
        return m;
    }

    private static void checkProperties(Message m) throws Exception {
        Env.equal("body", Env.textOf(m), "text");
        Env.equal(true, m.getObjectProperty("boolean"), "boolean");
        Env.equal((byte) 1, m.getObjectProperty("byte"), "byte");
        Env.equal((short) -2, m.getObjectProperty("short"), "short");
        Env.equal(Integer.MAX_VALUE, m.getObjectProperty("int"), "int");
        Env.equal(Long.MIN_VALUE, m.getObjectProperty("long"), "long");
        Env.equal(-0.0f, m.getObjectProperty("float"), "float");
        Env.equal(Math.PI, m.getObjectProperty("double"), "double");
        Env.equal("text", m.getObjectProperty("string"), "string");
        Env.check(!m.propertyExists("other"), "no other property");
    }

    private static void headers(Env env) throws Exception {
        Session session = Env.auto(env.connect());
        MessageProducer producer = session.createProducer(env.queue());
        TextMessage sent = session.createTextMessage("x");
        sent.setJMSCorrelationID("correlation \u20ac");
        sent.setJMSReplyTo(new ActiveMQQueue("reply.here"));
        sent.setJMSType("a.type");
        long before = System.currentTimeMillis();
        producer.send(sent, DeliveryMode.PERSISTENT, 7, 600_000);
        Message got = Env.receive(session.createConsumer(env.queue()));
        Env.equal("correlation \u20ac", got.getJMSCorrelationID(), "JMSCorrelationID");
        Env.equal(new ActiveMQQueue("reply.here"), got.getJMSReplyTo(), "JMSReplyTo");
        Env.equal("a.type", got.getJMSType(), "JMSType");
        Env.equal(7, got.getJMSPriority(), "JMSPriority");
        Env.equal(DeliveryMode.PERSISTENT, got.getJMSDeliveryMode(), "JMSDeliveryMode");
        Env.equal(sent.getJMSTimestamp(), got.getJMSTimestamp(), "JMSTimestamp");
        Env.equal(sent.getJMSExpiration(), got.getJMSExpiration(), "JMSExpiration");
        Env.check(got.getJMSExpiration() >= before + 600_000, "expiration is absolute");
        Env.equal(env.queue(), got.getJMSDestination(), "JMSDestination");
        Env.check(got.getJMSMessageID().startsWith("ID:"), "JMSMessageID starts with ID:");
        Env.check(got.getStringProperty(ScheduledMessage.AMQ_SCHEDULED_ID) == null, "no schedule");
    }

    private static void largeBacklog(Env env) throws Exception {
        int count = 1500;
        ActiveMQConnection connection = env.connect();
        Session session = Env.transacted(connection);
        MessageProducer producer = session.createProducer(env.queue());
        for (int i = 0; i < count; i++) {
            BytesMessage m = session.createBytesMessage();
            m.writeInt(i);
            m.writeBytes(random(40_000, i));
            producer.send(m);
            if (i % 100 == 99) {
                session.commit();
            }
        }
        session.commit();
        MessageConsumer consumer = Env.auto(env.connect()).createConsumer(env.queue());
        for (int i = 0; i < count; i++) {
            BytesMessage m = (BytesMessage) Env.receive(consumer);
            Env.equal(i, m.readInt(), "number");
            byte[] body = new byte[40_000];
            m.readBytes(body);
            Env.equal(random(40_000, i), body, "body " + i);
        }
        Env.nothing(consumer);
    }

    static String big(int length) {
        StringBuilder text = new StringBuilder(length);
        for (int i = 0; text.length() < length; i++) {
            text.append("line ").append(i).append('\n');
        }
        return text.substring(0, length);
    }

    private static byte[] random(int length) {
        return random(length, length);
    }

    private static byte[] random(int length, long seed) {
        byte[] bytes = new byte[length];
        new Random(seed).nextBytes(bytes);
        return bytes;
    }
}
