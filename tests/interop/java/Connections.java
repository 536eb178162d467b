import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import javax.jms.DeliveryMode;
import javax.jms.IllegalStateException;
import javax.jms.InvalidClientIDException;
import javax.jms.InvalidDestinationException;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Queue;
import javax.jms.QueueRequestor;
import javax.jms.QueueSession;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import javax.jms.TemporaryTopic;
import javax.jms.TextMessage;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.DestinationDoesNotExistException;
import org.apache.activemq.command.WireFormatInfo;
import org.apache.activemq.openwire.OpenWireFormat;

/** Connections, wire format variants, temporary destinations, closing, errors. */
final class Connections {
    static void run(Harness h) {
        for (int version : new int[] {1, 9, 10, 11, 12}) {
            h.test("connection: OpenWire version " + version,
                    env -> variant(env, "wireFormat.version=" + version));
        }
        for (String option : List.of("tightEncodingEnabled=false", "cacheEnabled=false", "stackTraceEnabled=false",
                "tcpNoDelayEnabled=false", "maxInactivityDuration=0", "cacheSize=200", "sizePrefixDisabled=true")) {
            h.test("connection: wireFormat." + option, env -> variant(env, "wireFormat." + option));
        }
        h.test("connection: a client without advisories",
                env -> variant(env, "jms.watchTopicAdvisories=false"));
        h.test("connection: sends and acknowledgements all synchronous",
                env -> variant(env, "jms.alwaysSyncSend=true&jms.sendAcksAsync=false"));
        h.test("connection: dispatch not asynchronous", env -> variant(env, "jms.dispatchAsync=false"));
        h.test("connection: 1,000 messages over 100 connections", env -> {
            for (int i = 0; i < 100; i++) {
                ActiveMQConnection connection = env.connect();
                Session session = Env.auto(connection);
                for (int k = 0; k < 10; k++) {
                    Env.send(session, env.queue(), "m" + (i * 10 + k));
                }
                connection.close();
            }
            Env.receiveMany(Env.auto(env.connect()).createConsumer(env.queue()), "m", 0, 1000);
        });
        h.test("connection: 100 open at once, each with its session", env -> {
            List<Session> sessions = new ArrayList<>();
            for (int i = 0; i < 100; i++) {
                sessions.add(Env.auto(env.connect()));
            }
            Set<String> expected = new TreeSet<>();
            for (int i = 0; i < 100; i++) {
                Env.send(sessions.get(i), env.queue(), "m" + i);
                expected.add("m" + i);
            }
            MessageConsumer consumer = sessions.get(0).createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 100);
        });
        h.test("connection: many sessions, producers and consumers in one", env -> {
            ActiveMQConnection connection = env.connect();
            List<MessageConsumer> consumers = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                Session session = Env.auto(connection);
                consumers.add(session.createConsumer(env.queue("." + i)));
                Env.send(session, env.queue("." + i), "m" + i);
            }
            for (int i = 0; i < 40; i++) {
                Env.receiveTexts(consumers.get(i), "m" + i);
            }
        });
        h.test("connection: idle longer than the inactivity limit stays open", env -> {
            ActiveMQConnection connection = env.connect("wireFormat.maxInactivityDuration=1000"
                    + "&wireFormat.maxInactivityDurationInitalDelay=200");
            List<Exception> errors = new CopyOnWriteArrayList<>();
            connection.setExceptionListener(errors::add);
            Session session = Env.auto(connection);
            MessageConsumer consumer = session.createConsumer(env.queue());
            Thread.sleep(4_000);
            Env.equal(List.of(), errors, "errors");
            Env.send(session, env.queue(), "still here");
            Env.receiveTexts(consumer, "still here");
        });
        h.test("connection: a silent client is dropped after the inactivity limit", Connections::silentClient);
        h.test("connection: duplicate client id is refused", env -> {
            String id = env.unique("client");
            ActiveMQConnection first = env.connectAs(id);
            Env.fails(InvalidClientIDException.class, () -> env.connectAs(id));
            Env.auto(first).createProducer(env.queue());
            first.close();
            Env.auto(env.connectAs(id)).createProducer(env.queue());
        });
        h.test("connection: a client id is free again after its connection was lost", env -> {
            String id = env.unique("client");
            Env.cut(env.connectAs(id));
            Env.await(() -> {
                try {
                    env.connectAs(id);
                    return true;
                } catch (InvalidClientIDException e) {
                    return false;
                }
            }, "client id free");
        });
        h.test("connection: garbage is answered by closing, others go on", env -> {
            Session session = Env.auto(env.connect());
            byte[][] garbage = {
                "GET / HTTP/1.1\r\nHost: x\r\n\r\n".getBytes(),
                {0x7f, -1, -1, -1, 1, 2, 3},
                {-1, -1, -1, -1, 1},
                {0, 0, 0, 1, 99},
                {0, 0, 0, 14, 1, 'X', 'c', 't', 'i', 'v', 'e', 'M', 'Q', 0, 0, 0, 12, 0},
            };
            for (byte[] bytes : garbage) {
                try (Socket socket = new Socket(env.broker.host(), env.broker.port())) {
                    socket.setSoTimeout((int) Env.WAIT_MS);
                    socket.getOutputStream().write(bytes);
                    socket.getOutputStream().flush();
                    socket.shutdownOutput();
                    byte[] sink = new byte[4096];
                    try {
                        while (socket.getInputStream().read(sink) >= 0) {
                            // The broker may greet before it closes.
                        }
                    } catch (java.net.SocketTimeoutException e) {
                        throw e;
                    } catch (java.io.IOException e) {
                        // A reset is a way of closing.
                    }
                }
            }
            Env.send(session, env.queue(), "x");
            Env.receiveTexts(session.createConsumer(env.queue()), "x");
        });
        h.test("close: order of closing does not matter", env -> {
            for (int variant = 0; variant < 4; variant++) {
                ActiveMQConnection connection = env.connect();
                Session session = Env.auto(connection);
                MessageProducer producer = session.createProducer(env.queue());
                producer.send(session.createTextMessage("m" + variant));
                MessageConsumer consumer = session.createConsumer(env.queue());
                Env.receiveTexts(consumer, "m" + variant);
                switch (variant) {
                    case 0 -> {
                        consumer.close();
                        producer.close();
                        session.close();
                    }
                    case 1 -> {
                        producer.close();
                        session.close();
                        consumer.close();
                    }
                    case 2 -> session.close();
                    default -> {
                    }
                }
                connection.close();
                connection.close();
                Env.fails(IllegalStateException.class, () -> producer.send(session.createTextMessage("late")));
            }
        });
        h.test("close: a consumer and its session with messages under way", env -> {
            Session sender = Env.auto(env.connect("jms.useAsyncSend=true"));
            MessageProducer producer = sender.createProducer(env.queue());
            for (int i = 0; i < 500; i++) {
                producer.send(sender.createTextMessage("m" + i));
                if (i % 50 == 0) {
                    ActiveMQConnection connection = env.connect();
                    Session session = Env.auto(connection);
                    session.createConsumer(env.queue()).close();
                    session.close();
                    connection.close();
                }
            }
            Env.receiveMany(Env.auto(env.connect()).createConsumer(env.queue()), "m", 0, 500);
        });
        temporaries(h);
    }

    private static void temporaries(Harness h) {
        h.test("temporary: request and reply over a queue", env -> {
            echo(env, env.queue());
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            TemporaryQueue replies = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(replies);
            MessageProducer producer = session.createProducer(env.queue());
            for (int i = 0; i < 20; i++) {
                TextMessage request = session.createTextMessage("r" + i);
                request.setJMSReplyTo(replies);
                request.setJMSCorrelationID("c" + i);
                producer.send(request);
                Message reply = Env.receive(consumer);
                Env.equal("echo r" + i, Env.textOf(reply), "reply");
                Env.equal("c" + i, reply.getJMSCorrelationID(), "JMSCorrelationID");
                Env.equal(replies, reply.getJMSDestination(), "JMSDestination");
            }
        });
        h.test("temporary: QueueRequestor", env -> {
            echo(env, env.queue());
            ActiveMQConnection connection = env.connect();
            QueueSession session = connection.createQueueSession(false, Session.AUTO_ACKNOWLEDGE);
            QueueRequestor requestor = new QueueRequestor(session, (Queue) env.queue());
            Env.equal("echo hello", Env.textOf(requestor.request(session.createTextMessage("hello"))), "reply");
            requestor.close();
        });
        h.test("temporary: a responder that connected before the queue existed", env -> {
            ActiveMQConnection responder = env.connect();
            Session responding = Env.auto(responder);
            Session session = Env.auto(env.connect());
            TemporaryQueue replies = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(replies);
            Env.send(responding, replies, "hello");
            Env.receiveTexts(consumer, "hello");
        });
        h.test("temporary: a responder that connected after the queue existed", env -> {
            Session session = Env.auto(env.connect());
            TemporaryQueue replies = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(replies);
            Session responding = Env.auto(env.connect());
            Env.send(responding, replies, "hello");
            Env.receiveTexts(consumer, "hello");
        });
        h.test("temporary: topic", env -> {
            Session session = Env.auto(env.connect());
            TemporaryTopic topic = session.createTemporaryTopic();
            MessageConsumer one = session.createConsumer(topic);
            MessageConsumer two = session.createConsumer(topic);
            Env.send(Env.auto(env.connect()), topic, "x", "y");
            Env.receiveTexts(one, "x", "y");
            Env.receiveTexts(two, "x", "y");
        });
        h.test("temporary: a deleted queue takes no more messages", env -> {
            Session session = Env.auto(env.connect());
            Session other = Env.auto(env.connect());
            TemporaryQueue queue = session.createTemporaryQueue();
            MessageProducer producer = other.createProducer(queue);
            producer.send(other.createTextMessage("x"));
            queue.delete();
            Env.await(() -> {
                try {
                    producer.send(other.createTextMessage("late"));
                    return false;
                } catch (InvalidDestinationException | DestinationDoesNotExistException e) {
                    // The client knows it by an advisory, or the broker says it: whoever is faster.
                    return true;
                }
            }, "sending to the deleted queue fails");
        });
        h.test("temporary: a queue in use cannot be deleted", env -> {
            Session session = Env.auto(env.connect());
            TemporaryQueue queue = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(queue);
            Env.fails(JMSException.class, queue::delete);
            consumer.close();
            queue.delete();
        });
        h.test("temporary: destinations end with their connection", env -> {
            ActiveMQConnection owner = env.connect();
            TemporaryQueue queue = Env.auto(owner).createTemporaryQueue();
            Session other = Env.auto(env.connect());
            Env.send(other, queue, "x");
            owner.close();
            Env.await(() -> {
                try {
                    Env.send(other, queue, "late");
                    return false;
                } catch (JMSException e) {
                    return true;
                }
            }, "sending fails after the owner left");
        });
        h.test("temporary: another connection may not consume", env -> {
            TemporaryQueue queue = Env.auto(env.connect()).createTemporaryQueue();
            Env.fails(InvalidDestinationException.class,
                    () -> Env.auto(env.connect()).createConsumer(queue));
        });
        h.test("temporary: 200 created and deleted", env -> {
            ActiveMQConnection connection = env.connect();
            Session session = Env.auto(connection);
            for (int i = 0; i < 200; i++) {
                TemporaryQueue queue = session.createTemporaryQueue();
                MessageConsumer consumer = session.createConsumer(queue);
                Env.send(session, queue, "m" + i);
                Env.receiveTexts(consumer, "m" + i);
                consumer.close();
                queue.delete();
            }
        });
    }

    /** Everything a client does, briefly, with the given options. */
    private static void variant(Env env, String options) throws Exception {
        ActiveMQConnection connection = env.connect(options);
        Session session = Env.auto(connection);
        Env.sendMany(session, env.queue(), "m", 30);
        Env.equal(Queues.numbered(0, 30), Env.browse(session, env.queue()), "browsed");
        MessageConsumer consumer = session.createConsumer(env.queue());
        for (int i = 0; i < 30; i++) {
            Message m = Env.receive(consumer);
            Env.equal("m" + i, Env.textOf(m), "message");
            Env.equal(env.queue(), m.getJMSDestination(), "destination");
        }
        TextMessage rich = session.createTextMessage("rich");
        rich.setIntProperty("n", 1);
        rich.setJMSCorrelationID("c");
        rich.setJMSReplyTo(session.createTemporaryQueue());
        session.createProducer(env.queue()).send(rich, DeliveryMode.NON_PERSISTENT, 9, 60_000);
        Message got = Env.receive(consumer);
        Env.equal(1, got.getIntProperty("n"), "property");
        Env.equal("c", got.getJMSCorrelationID(), "JMSCorrelationID");
        Env.equal(rich.getJMSReplyTo(), got.getJMSReplyTo(), "JMSReplyTo");
        Env.equal(9, got.getJMSPriority(), "priority");
        MessageConsumer onTopic = session.createConsumer(env.topic());
        Session transacted = Env.transacted(connection);
        Env.sendMany(transacted, env.topic(), "t", 10);
        transacted.commit();
        Env.receiveMany(onTopic, "t", 0, 10);
        TemporaryQueue temporary = session.createTemporaryQueue();
        MessageConsumer onTemporary = session.createConsumer(temporary);
        Env.send(session, temporary, "reply");
        Env.receiveTexts(onTemporary, "reply");
        connection.close();
        Env.equal(List.of(), env.browse(env.queue()), "rest");
    }

    private static void echo(Env env, Queue requests) throws Exception {
        Session session = Env.auto(env.connect());
        MessageProducer producer = session.createProducer(null);
        AtomicInteger count = new AtomicInteger();
        session.createConsumer(requests).setMessageListener(m -> {
            try {
                TextMessage reply = session.createTextMessage("echo " + Env.textOf(m));
                reply.setJMSCorrelationID(m.getJMSCorrelationID());
                producer.send(m.getJMSReplyTo(), reply);
                count.incrementAndGet();
            } catch (JMSException e) {
                throw new RuntimeException(e);
            }
        });
    }

    /** Negotiates a limit of one second and then says nothing: the broker must hang up. */
    private static void silentClient(Env env) throws Exception {
        try (Socket socket = new Socket(env.broker.host(), env.broker.port())) {
            WireFormatInfo info = new WireFormatInfo();
            info.setVersion(12);
            info.setMaxInactivityDuration(1000);
            info.setMaxInactivityDurationInitalDelay(200);
            DataOutputStream out = new DataOutputStream(socket.getOutputStream());
            new OpenWireFormat(12).marshal(info, out);
            out.flush();
            socket.setSoTimeout((int) Env.WAIT_MS);
            DataInputStream in = new DataInputStream(socket.getInputStream());
            byte[] sink = new byte[4096];
            long start = System.nanoTime();
            try {
                while (in.read(sink) >= 0) {
                    // BrokerInfo and keep-alives may come before the end.
                }
            } catch (java.net.SocketTimeoutException e) {
                throw new AssertionError("still open after " + Env.WAIT_MS + " ms");
            } catch (java.io.IOException e) {
                // A reset is a way of closing.
            }
            long millis = (System.nanoTime() - start) / 1_000_000;
            Env.check(millis >= 300, "not closed at once, but after " + millis + " ms");
        }
    }
}
