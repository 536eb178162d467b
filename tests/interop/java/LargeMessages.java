import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.FutureTask;
import javax.jms.BytesMessage;
import javax.jms.DeliveryMode;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.command.ActiveMQQueue;

/** Messages of many megabytes. */
final class LargeMessages {
    private static final int BODY = 16 << 20;

    static void run(Harness h) {
        for (int mode : new int[] {DeliveryMode.PERSISTENT, DeliveryMode.NON_PERSISTENT}) {
            String name = mode == DeliveryMode.PERSISTENT ? "persistent" : "non-persistent";
            h.test("large: a " + name + " message of 16 MB arrives as it was sent", env -> {
                exchange(env.connect(), env.queue(), mode, body(mode));
            });
        }
        h.test("large: a compressed message of 16 MB arrives as it was sent", env -> {
            exchange(env.connect("jms.useCompression=true"), env.queue(), DeliveryMode.PERSISTENT, new byte[BODY]);
        });
        h.test("large: many connections send large messages at once", env -> {
            List<FutureTask<Void>> tasks = new ArrayList<>();
            for (int i = 0; i < 6; i++) {
                ActiveMQConnection connection = env.connect();
                ActiveMQQueue queue = env.queue("-" + i);
                byte[] body = body(i);
                FutureTask<Void> task = new FutureTask<>(() -> {
                    exchange(connection, queue, DeliveryMode.PERSISTENT, body);
                    return null;
                });
                Thread thread = new Thread(task, "sender " + i);
                thread.setDaemon(true);
                thread.start();
                tasks.add(task);
            }
            for (FutureTask<Void> task : tasks) {
                task.get();
            }
        });
        h.test("large: a transaction of large messages is there as a whole", env -> {
            Session session = Env.transacted(env.connect());
            MessageProducer producer = session.createProducer(env.queue());
            byte[] body = body(1);
            for (int i = 0; i < 3; i++) {
                BytesMessage message = session.createBytesMessage();
                message.writeBytes(body);
                producer.send(message);
            }
            session.commit();
            MessageConsumer consumer = session.createConsumer(env.queue());
            for (int i = 0; i < 3; i++) {
                Env.equal((long) BODY, ((BytesMessage) Env.receive(consumer)).getBodyLength(), "length");
            }
            session.commit();
        });
    }

    private static byte[] body(long seed) {
        byte[] body = new byte[BODY];
        new Random(seed).nextBytes(body);
        return body;
    }

    private static void exchange(ActiveMQConnection connection, ActiveMQQueue queue, int mode, byte[] body) throws Exception {
        Session session = Env.auto(connection);
        MessageProducer producer = session.createProducer(queue);
        producer.setDeliveryMode(mode);
        BytesMessage message = session.createBytesMessage();
        message.writeBytes(body);
        producer.send(message);
        BytesMessage got = (BytesMessage) Env.receive(session.createConsumer(queue));
        Env.equal((long) body.length, got.getBodyLength(), "length");
        byte[] bytes = new byte[body.length];
        Env.equal(body.length, got.readBytes(bytes), "bytes read");
        Env.check(java.util.Arrays.equals(body, bytes), "the body is the same");
    }
}
