import javax.jms.JMSException;
import javax.jms.JMSSecurityException;
import javax.jms.MessageConsumer;
import javax.jms.Queue;
import javax.jms.Session;
import org.apache.activemq.ActiveMQConnection;
import org.apache.activemq.ActiveMQConnectionFactory;

/**
 * Users, passwords and rights, as tests/interop/activemq.xml has them: clerks may make interop.security.> and write
 * to interop.security.orders and .other, auditors may read .orders, and neither may do anything else with queues.
 */
final class Security {
    private static final String CLERK = "clerk";
    private static final String AUDITOR = "auditor";

    static void run(Harness h) {
        h.test("security: a wrong password is refused in ActiveMQ's words", env -> {
            for (String user : new String[] {CLERK, "nobody"}) {
                JMSException error = Env.fails(JMSException.class, () -> as(env, user, "wrong"));
                Env.equal("User name [" + user + "] or password is invalid.", error.getMessage(), "the text");
                Env.check(error instanceof JMSSecurityException || error.getCause() instanceof SecurityException,
                        "a security exception: " + error);
            }
        });
        h.test("security: each may do what its group may", env -> {
            Session clerk = Env.auto(as(env, CLERK));
            Queue orders = clerk.createQueue("interop.security.orders");
            Env.send(clerk, orders, "one");
            refused("User clerk is not authorized to read from: queue://interop.security.orders",
                    () -> clerk.createConsumer(orders));
            Session auditor = Env.auto(as(env, AUDITOR));
            MessageConsumer consumer = auditor.createConsumer(orders);
            Env.receiveTexts(consumer, "one");
            refused("User auditor is not authorized to write to: queue://interop.security.orders",
                    () -> auditor.createProducer(orders));
            consumer.close();
        });
        h.test("security: a producer without a destination is asked at each new one", env -> {
            Session session = Env.auto(as(env, AUDITOR));
            refused("User auditor is not authorized to write to: queue://interop.security.orders",
                    () -> session.createProducer(null).send(session.createQueue("interop.security.orders"),
                            session.createTextMessage("no")));
            session.createConsumer(session.createQueue("interop.security.orders")).close();
        });
        h.test("security: making a queue is a right of its own", env -> {
            Session auditor = Env.auto(as(env, AUDITOR));
            refused("User auditor is not authorized to read from: queue://interop.security.new",
                    () -> auditor.createConsumer(auditor.createQueue("interop.security.new")));
            refused("User auditor is not authorized to write to: topic://" + env.topic().getTopicName(),
                    () -> auditor.createProducer(env.topic()));
        });
        h.test("security: a wildcard finds only what may be read", env -> {
            Session clerk = Env.auto(as(env, CLERK));
            Env.send(clerk, clerk.createQueue("interop.security.other"), "hidden");
            Env.send(clerk, clerk.createQueue("interop.security.orders"), "shown");
            Session auditor = Env.auto(as(env, AUDITOR));
            MessageConsumer consumer = auditor.createConsumer(auditor.createQueue("interop.security.*"));
            Env.receiveTexts(consumer, "shown");
            Env.nothing(consumer);
        });
        h.test("security: temporary queues are for those in the temporary entry", env -> {
            Env.auto(as(env, CLERK)).createTemporaryQueue();
            Session auditor = Env.auto(as(env, AUDITOR));
            Env.fails(JMSException.class, () -> auditor.createTemporaryQueue());
        });
    }

    private static ActiveMQConnection as(Env env, String user) throws JMSException {
        return as(env, user, user + "'s secret");
    }

    private static ActiveMQConnection as(Env env, String user, String password) throws JMSException {
        ActiveMQConnectionFactory factory = env.factory("");
        factory.setUserName(user);
        factory.setPassword(password);
        return Env.start(env.open(factory));
    }

    private static void refused(String text, Env.Action action) {
        JMSException error = Env.fails(JMSException.class, action);
        Env.equal(text, error.getMessage(), "the text");
    }
}
