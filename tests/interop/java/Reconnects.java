import java.util.List;
import java.util.concurrent.CountDownLatch;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TemporaryQueue;
import javax.jms.TextMessage;
import javax.jms.TransactionRolledBackException;
import javax.jms.TopicSubscriber;
import org.apache.activemq.ActiveMQConnection;

/** A failover client whose connection is lost, although the broker lives. */
final class Reconnects {
    interface Body {
        void run(Env env, Proxy proxy, ActiveMQConnection connection) throws Exception;
    }

    static void run(Harness h) {
        test(h, "reconnect: a send whose response was lost arrives once", (env, proxy, connection) -> {
            Session session = Env.auto(connection);
            MessageProducer producer = session.createProducer(env.queue());
            producer.send(session.createTextMessage("m0"));
            for (int i = 1; i <= 5; i++) {
                CountDownLatch lost = proxy.swallowNextResponse();
                producer.send(session.createTextMessage("m" + i));
                Proxy.await(lost);
            }
            producer.send(session.createTextMessage("m6"));
            Env.equal(Queues.numbered(0, 7), env.browse(env.queue()), "queue");
        });
        test(h, "reconnect: a send to a durable subscription whose response was lost arrives once",
                (env, proxy, connection) -> {
            Session other = Env.auto(env.connectAs(env.unique("client")));
            TopicSubscriber subscriber = other.createDurableSubscriber(env.topic(), "sub");
            Session session = Env.auto(connection);
            MessageProducer producer = session.createProducer(env.topic());
            producer.send(session.createTextMessage("m0"));
            CountDownLatch lost = proxy.swallowNextResponse();
            producer.send(session.createTextMessage("m1"));
            Proxy.await(lost);
            Env.receiveMany(subscriber, "m", 0, 2);
            Env.nothing(subscriber);
        });
        test(h, "reconnect: a commit whose response was lost is all or nothing", (env, proxy, connection) -> {
            Session session = Env.transacted(connection);
            MessageProducer producer = session.createProducer(env.queue());
            for (int i = 0; i < 5; i++) {
                producer.send(session.createTextMessage("m" + i));
            }
            CountDownLatch lost = proxy.swallowNextResponse();
            Env.fails(TransactionRolledBackException.class, session::commit);
            Proxy.await(lost);
            List<String> there = env.browse(env.queue());
            Env.check(there.isEmpty() || there.equals(Queues.numbered(0, 5)), "all or nothing: " + there);
            producer.send(session.createTextMessage("after"));
            session.commit();
            List<String> then = env.browse(env.queue());
            Env.equal(there.size() + 1, then.size(), "number of messages after the next commit");
            Env.equal("after", then.get(then.size() - 1), "last message");
        });
        test(h, "reconnect: an open transaction is replayed and commits", (env, proxy, connection) -> {
            Session session = Env.transacted(connection);
            MessageProducer producer = session.createProducer(env.queue());
            producer.send(session.createTextMessage("m0"));
            producer.send(session.createTextMessage("m1"));
            proxy.cut();
            // A commit written into the dying socket would be in doubt: first let a send come through.
            Env.send(Env.auto(connection), env.queue(".other"), "through");
            producer.send(session.createTextMessage("m2"));
            session.commit();
            Env.equal(Queues.numbered(0, 3), env.browse(env.queue()), "queue");
        });
        test(h, "reconnect: a consumer gets everything once and in order", (env, proxy, connection) -> {
            Session sender = Env.auto(env.connect());
            MessageConsumer consumer = Env.auto(connection).createConsumer(env.queue());
            for (int round = 0; round < 5; round++) {
                Env.sendMany(sender, env.queue(), "r" + round + "-", 50);
                Env.receiveMany(consumer, "r" + round + "-", 0, 50);
                proxy.cut();
            }
            Env.nothing(consumer);
        });
        test(h, "reconnect: prefetched messages survive", (env, proxy, connection) -> {
            Session sender = Env.auto(env.connect());
            Env.sendMany(sender, env.queue(), "m", 100);
            MessageConsumer consumer = Env.auto(connection).createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 20);
            proxy.cut();
            Env.receiveMany(consumer, "m", 20, 100);
            Env.nothing(consumer);
        });
        test(h, "reconnect: unacknowledged messages of CLIENT_ACKNOWLEDGE come again",
                (env, proxy, connection) -> {
            Env.sendMany(Env.auto(env.connect()), env.queue(), "m", 3);
            MessageConsumer consumer = Env.client(connection).createConsumer(env.queue());
            Env.receiveMany(consumer, "m", 0, 3);
            proxy.cut();
            Message last = null;
            for (int i = 0; i < 3; i++) {
                last = Env.receive(consumer);
                Env.equal("m" + i, Env.textOf(last), "order");
            }
            last.acknowledge();
            connection.close();
            env.awaitDepth(env.queue(), 0);
        });
        test(h, "reconnect: a temporary queue lives on", (env, proxy, connection) -> {
            Session session = Env.auto(connection);
            TemporaryQueue replies = session.createTemporaryQueue();
            MessageConsumer consumer = session.createConsumer(replies);
            TextMessage request = session.createTextMessage("request");
            request.setJMSReplyTo(replies);
            session.createProducer(env.queue()).send(request);
            proxy.cut();
            Session responding = Env.auto(env.connect());
            Message got = Env.receive(responding.createConsumer(env.queue()));
            Env.await(() -> {
                try {
                    Env.send(responding, got.getJMSReplyTo(), "reply");
                    return true;
                } catch (JMSException e) {
                    return false;
                }
            }, "the temporary queue is announced again");
            Env.receiveTexts(consumer, "reply");
        });
        test(h, "reconnect: a durable subscription goes on", (env, proxy, connection) -> {
            ActiveMQConnection own = env.open(Env.factoryTo(proxy.failoverUrl()));
            own.setClientID(env.unique("client"));
            own.start();
            TopicSubscriber subscriber = Env.auto(own).createDurableSubscriber(env.topic(), "sub");
            Session sender = Env.auto(env.connect());
            Env.sendMany(sender, env.topic(), "a", 10);
            Env.receiveMany(subscriber, "a", 0, 10);
            proxy.cut();
            Env.sendMany(sender, env.topic(), "b", 10);
            Env.receiveMany(subscriber, "b", 0, 10);
            Env.nothing(subscriber);
        });
        test(h, "reconnect: while the broker still believes in the old connection", (env, proxy, connection) -> {
            ActiveMQConnection own = env.open(Env.factoryTo(proxy.failoverUrl()));
            own.setClientID(env.unique("client"));
            own.start();
            Session session = Env.auto(own);
            TopicSubscriber subscriber = session.createDurableSubscriber(env.topic(), "sub");
            MessageConsumer consumer = session.createConsumer(env.queue());
            proxy.cutClientOnly();
            Env.send(session, env.queue(), "q");
            Env.send(session, env.topic(), "t");
            Env.receiveTexts(consumer, "q");
            Env.receiveTexts(subscriber, "t");
        });
        test(h, "reconnect: a blocked receive with prefetch 0 goes on", (env, proxy, connection) -> {
            ActiveMQConnection own = env.open(
                    Env.factoryTo(proxy.failoverUrl() + "?jms.prefetchPolicy.queuePrefetch=0"));
            own.start();
            MessageConsumer consumer = Env.auto(own).createConsumer(env.queue());
            Session sender = Env.auto(env.connect());
            Thread thread = new Thread(() -> {
                try {
                    Thread.sleep(300);
                    proxy.cut();
                    Thread.sleep(300);
                    Env.send(sender, env.queue(), "x");
                } catch (Exception e) {
                    throw new RuntimeException(e);
                }
            });
            thread.setDaemon(true);
            thread.start();
            Env.receiveTexts(consumer, "x");
        });
        test(h, "reconnect: sends while the broker cannot be reached wait and arrive in order",
                (env, proxy, connection) -> {
            Session session = Env.auto(connection);
            MessageProducer producer = session.createProducer(env.queue());
            producer.send(session.createTextMessage("m0"));
            proxy.pause();
            proxy.cut();
            Thread thread = new Thread(() -> {
                try {
                    Thread.sleep(500);
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
                proxy.resume();
            });
            thread.setDaemon(true);
            thread.start();
            producer.send(session.createTextMessage("m1"));
            producer.send(session.createTextMessage("m2"));
            Env.equal(Queues.numbered(0, 3), env.browse(env.queue()), "queue");
        });
    }

    private static void test(Harness h, String name, Body body) {
        h.test(name, env -> {
            try (Proxy proxy = new Proxy(env.broker)) {
                body.run(env, proxy, Env.start(env.open(Env.factoryTo(proxy.failoverUrl()))));
                env.closeConnections();
            }
        });
    }
}
