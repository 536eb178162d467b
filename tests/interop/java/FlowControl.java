import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.JMSException;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.ResourceAllocationException;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQQueue;

/** What happens to producers when memory is full: interop.flow.block and .fail may use 64 KB, so the third message has no room. */
final class FlowControl {
    private static final int BODY = 40 * 1024;
    private static final int FIT = 2;

    static void run(Harness h) {
        h.test("flow: a producer waits for room while its own connection consumes", env -> {
            ActiveMQConnection connection = env.connect("jms.alwaysSyncSend=true");
            ActiveMQQueue queue = new ActiveMQQueue("interop.flow.block." + env.unique("sync"));
            AtomicInteger sent = new AtomicInteger();
            Thread sender = produce(connection, queue, 6, sent);
            waitsAt(sent, FIT);
            MessageConsumer consumer = Env.auto(connection).createConsumer(queue);
            for (int i = 0; i < 6; i++) {
                Env.equal(i, Env.receive(consumer).getIntProperty("n"), "order");
            }
            sender.join(Env.WAIT_MS);
            Env.equal(6, sent.get(), "sent");
        });
        h.test("flow: a full queue does not hold a producer of another queue back", env -> {
            ActiveMQConnection connection = env.connect("jms.alwaysSyncSend=true");
            ActiveMQQueue full = new ActiveMQQueue("interop.flow.block." + env.unique("full"));
            AtomicInteger sent = new AtomicInteger();
            produce(connection, full, 4, sent);
            waitsAt(sent, FIT);
            Session session = Env.auto(connection);
            Env.send(session, env.queue(), "passes");
            Env.equal("passes", Env.receiveText(session.createConsumer(env.queue())), "text");
            drain(env, full, 4);
        });
        h.test("flow: a producer with a window is held back by it and goes on", env -> {
            ActiveMQConnection connection = env.connect("jms.producerWindowSize=100000&jms.useAsyncSend=true");
            ActiveMQQueue queue = new ActiveMQQueue("interop.flow.block." + env.unique("window"));
            AtomicInteger sent = new AtomicInteger();
            Thread sender = produce(connection, queue, 12, sent);
            Env.await(() -> sent.get() >= FIT, "first sends");
            Thread.sleep(Env.QUIET_MS);
            int atMost = sent.get();
            Env.check(atMost < 12, "the window has an end");
            // ActiveMQ may let what comes late overtake what waits.
            drain(env, queue, 12, !env.broker.isReference);
            sender.join(Env.WAIT_MS);
            Env.equal(12, sent.get(), "sent");
        });
        h.test("flow: with sendFailIfNoSpace a send without room fails, and others go on", env -> {
            ActiveMQConnection connection = env.connect("jms.alwaysSyncSend=true");
            ActiveMQQueue queue = new ActiveMQQueue("interop.flow.fail." + env.unique("sync"));
            Session session = Env.auto(connection);
            MessageProducer producer = transientProducer(session, queue);
            for (int i = 0; i < FIT; i++) {
                producer.send(message(session, i));
            }
            Env.fails(ResourceAllocationException.class, () -> producer.send(message(session, FIT)));
            drain(env, queue, FIT);
            Env.await(() -> {
                try {
                    producer.send(message(session, FIT));
                    return true;
                } catch (ResourceAllocationException e) {
                    return false;
                }
            }, "room again");
            drain(env, queue, 1);
        });
        h.test("flow: with sendFailIfNoSpace an asynchronous send tells the exception listener", env -> {
            ActiveMQConnection connection = env.connect("jms.useAsyncSend=true");
            AtomicReference<JMSException> told = new AtomicReference<>();
            CountDownLatch latch = new CountDownLatch(1);
            connection.setExceptionListener(error -> {
                told.set(error);
                latch.countDown();
            });
            ActiveMQQueue queue = new ActiveMQQueue("interop.flow.fail." + env.unique("async"));
            Session session = Env.auto(connection);
            MessageProducer producer = transientProducer(session, queue);
            for (int i = 0; i <= FIT; i++) {
                producer.send(message(session, i));
            }
            Env.check(latch.await(Env.WAIT_MS, TimeUnit.MILLISECONDS), "the listener is told");
            Env.check(told.get() instanceof ResourceAllocationException, "it is a ResourceAllocationException: " + told.get());
            drain(env, queue, FIT);
        });
        h.test("flow: a commit waits for sends of its transaction that have no room", env -> {
            ActiveMQConnection connection = env.connect("jms.producerWindowSize=10000000");
            ActiveMQQueue queue = new ActiveMQQueue("interop.flow.block." + env.unique("commit"));
            AtomicInteger sent = new AtomicInteger();
            produce(env.connect("jms.alwaysSyncSend=true"), queue, FIT, sent);
            Env.await(() -> sent.get() == FIT, "a full queue");
            CountDownLatch committed = new CountDownLatch(1);
            Thread thread = new Thread(() -> {
                try {
                    Session session = Env.transacted(connection);
                    transientProducer(session, queue).send(message(session, FIT));
                    session.commit();
                    committed.countDown();
                } catch (JMSException e) {
                    e.printStackTrace();
                }
            });
            thread.setDaemon(true);
            thread.start();
            Thread.sleep(Env.QUIET_MS);
            drain(env, queue, FIT + 1);
            Env.check(committed.await(Env.WAIT_MS, TimeUnit.MILLISECONDS), "the commit is answered");
        });
    }

    private static MessageProducer transientProducer(Session session, ActiveMQQueue queue) throws JMSException {
        MessageProducer producer = session.createProducer(queue);
        producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
        return producer;
    }

    private static BytesMessage message(Session session, int number) throws JMSException {
        BytesMessage message = session.createBytesMessage();
        message.writeBytes(new byte[BODY]);
        message.setIntProperty("n", number);
        return message;
    }

    private static Thread produce(ActiveMQConnection connection, ActiveMQQueue queue, int count, AtomicInteger sent) {
        Thread thread = new Thread(() -> {
            try {
                Session session = Env.auto(connection);
                MessageProducer producer = transientProducer(session, queue);
                for (int i = 0; i < count; i++) {
                    producer.send(message(session, i));
                    sent.incrementAndGet();
                }
            } catch (JMSException e) {
                // The case sees what was not sent.
            }
        }, "producer");
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    private static void waitsAt(AtomicInteger sent, int count) throws Exception {
        Env.await(() -> sent.get() >= count, count + " sends");
        Thread.sleep(Env.QUIET_MS);
        Env.equal(count, sent.get(), "sent without room");
    }

    private static void drain(Env env, ActiveMQQueue queue, int count) throws JMSException {
        drain(env, queue, count, count > 1);
    }

    private static void drain(Env env, ActiveMQQueue queue, int count, boolean isOrdered) throws JMSException {
        Session session = Env.auto(env.connect());
        MessageConsumer consumer = session.createConsumer(queue);
        for (int i = 0; i < count; i++) {
            Message message = Env.receive(consumer);
            Env.equal(i, isOrdered ? message.getIntProperty("n") : i, "order");
        }
        consumer.close();
    }
}
