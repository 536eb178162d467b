import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import javax.jms.DeliveryMode;
import javax.jms.Message;
import javax.jms.MessageConsumer;
import javax.jms.MessageProducer;
import javax.jms.Session;
import javax.jms.TopicSubscriber;
import javax.jms.XAConnection;
import javax.jms.XASession;
import javax.transaction.xa.XAException;
import javax.transaction.xa.XAResource;
import javax.transaction.xa.Xid;
import org.apache.activemq.ActiveMQXAConnectionFactory;

/** Distributed transactions, with this program as their manager. */
final class Xa {
    private static final AtomicInteger NUMBER = new AtomicInteger();

    /** A name that no other run has. */
    record Name(int number, long time) implements Xid {
        static Name fresh() {
            return new Name(NUMBER.incrementAndGet(), System.nanoTime());
        }

        @Override
        public int getFormatId() {
            return 86;
        }

        @Override
        public byte[] getGlobalTransactionId() {
            return ("g" + time).getBytes();
        }

        @Override
        public byte[] getBranchQualifier() {
            return ("b" + number).getBytes();
        }
    }

    interface Step {
        void take() throws Exception;
    }

    static void run(Harness h) {
        h.test("xa: prepare shows nothing, commit shows all", env -> {
            XASession session = connect(env).createXASession();
            XAResource resource = session.getXAResource();
            Env.sendMany(Env.auto(env.connect()), env.queue("in"), "m", 3);
            Name name = Name.fresh();
            MessageConsumer consumer = session.createConsumer(env.queue("in"));
            resource.start(name, XAResource.TMNOFLAGS);
            Env.receiveMany(consumer, "m", 0, 2);
            Env.sendMany(session, env.queue("out"), "o", 2);
            resource.end(name, XAResource.TMSUCCESS);
            Env.equal(XAResource.XA_OK, resource.prepare(name), "vote");
            Env.equal(List.of(), env.browse(env.queue("out")), "prepared");
            resource.commit(name, false);
            consumer.close();
            Env.equal(List.of("o0", "o1"), env.browse(env.queue("out")), "committed");
            Env.equal(List.of("m2"), env.browse(env.queue("in")), "rest");
        });
        h.test("xa: rollback of prepared and of active ones", env -> {
            XASession session = connect(env).createXASession();
            XAResource resource = session.getXAResource();
            for (boolean isPrepared : new boolean[] {true, false}) {
                Name name = Name.fresh();
                send(session, name, env, "never");
                if (isPrepared) {
                    Env.equal(XAResource.XA_OK, resource.prepare(name), "vote");
                }
                resource.rollback(name);
                code(XAException.XAER_NOTA, () -> resource.commit(name, false));
            }
            Env.equal(List.of(), env.browse(env.queue()), "queue");
        });
        h.test("xa: one phase, read only, and steps out of order", env -> {
            XASession session = connect(env).createXASession();
            XAResource resource = session.getXAResource();
            Name one = Name.fresh();
            send(session, one, env, "one");
            resource.commit(one, true);
            Name empty = Name.fresh();
            resource.start(empty, XAResource.TMNOFLAGS);
            resource.end(empty, XAResource.TMSUCCESS);
            Env.equal(XAResource.XA_RDONLY, resource.prepare(empty), "vote");
            Name early = Name.fresh();
            send(session, early, env, "two");
            code(XAException.XAER_PROTO, () -> resource.commit(early, false));
            resource.commit(early, true);
            code(XAException.XAER_NOTA, () -> resource.rollback(Name.fresh()));
            Env.equal(List.of("one", "two"), env.browse(env.queue()), "queue");
        });
        h.test("xa: suspend, resume, join, and two transactions on one session", env -> {
            XAConnection connection = connect(env);
            XASession first = connection.createXASession();
            XASession second = connection.createXASession();
            Name a = Name.fresh();
            Name b = Name.fresh();
            XAResource resource = first.getXAResource();
            Env.check(resource.isSameRM(second.getXAResource()), "the same manager");
            resource.start(a, XAResource.TMNOFLAGS);
            Env.send(first, env.queue("a"), "1");
            resource.end(a, XAResource.TMSUSPEND);
            resource.start(b, XAResource.TMNOFLAGS);
            Env.send(first, env.queue("b"), "never");
            resource.end(b, XAResource.TMSUCCESS);
            resource.start(a, XAResource.TMRESUME);
            Env.send(first, env.queue("a"), "2");
            resource.end(a, XAResource.TMSUCCESS);
            second.getXAResource().start(a, XAResource.TMJOIN);
            Env.send(second, env.queue("a"), "3");
            second.getXAResource().end(a, XAResource.TMSUCCESS);
            Env.equal(XAResource.XA_OK, resource.prepare(a), "vote");
            resource.rollback(b);
            resource.commit(a, false);
            Env.equal(List.of("1", "2", "3"), env.browse(env.queue("a")), "a");
            Env.equal(List.of(), env.browse(env.queue("b")), "b");
        });
        h.test("xa: a lost connection keeps what is prepared and rolls back the rest", env -> {
            XAConnection connection = connect(env);
            Name kept = Name.fresh();
            Name dropped = Name.fresh();
            XASession session = connection.createXASession();
            send(session, kept, env, "kept");
            Env.equal(XAResource.XA_OK, session.getXAResource().prepare(kept), "vote");
            send(session, dropped, env, "dropped");
            connection.close();
            XAResource other = connect(env).createXASession().getXAResource();
            Env.check(isListed(other, kept), "it is listed");
            Env.check(!isListed(other, dropped), "it is not listed");
            code(XAException.XAER_NOTA, () -> other.commit(dropped, true));
            other.commit(kept, false);
            Env.check(!isListed(other, kept), "it is listed no more");
            Env.equal(List.of("kept"), env.browse(env.queue()), "queue");
        });
        h.test("xa: durable subscriptions and volatile messages take part", env -> {
            XAConnection connection = new ActiveMQXAConnectionFactory(env.broker.url()).createXAConnection();
            connection.setClientID(env.unique("client"));
            connection.start();
            XASession session = connection.createXASession();
            TopicSubscriber subscriber = session.createDurableSubscriber(env.topic(), "s");
            Name sent = Name.fresh();
            XAResource resource = session.getXAResource();
            resource.start(sent, XAResource.TMNOFLAGS);
            Env.send(session, env.topic(), "news");
            MessageProducer producer = session.createProducer(env.queue());
            producer.setDeliveryMode(DeliveryMode.NON_PERSISTENT);
            producer.send(session.createTextMessage("volatile"));
            resource.end(sent, XAResource.TMSUCCESS);
            Env.equal(XAResource.XA_OK, resource.prepare(sent), "vote");
            resource.commit(sent, false);
            Name taken = Name.fresh();
            resource.start(taken, XAResource.TMNOFLAGS);
            Env.receiveTexts(subscriber, "news");
            resource.end(taken, XAResource.TMSUCCESS);
            Env.equal(XAResource.XA_OK, resource.prepare(taken), "vote");
            resource.commit(taken, false);
            Env.equal(List.of("volatile"), env.browse(env.queue()), "queue");
            connection.close();
        });
    }

    /** What is prepared must be there after a restart and after kill -9, and be decided once. */
    static void runControlled(Harness h) {
        prepared(h, "restart", Broker::restart);
        prepared(h, "takeover", Broker::kill);
    }

    private static void prepared(Harness h, String what, Restarts.Upheaval upheaval) {
        h.test("xa: prepared ones are decided after a " + what, env -> {
            Session plain = Env.auto(env.connect());
            for (String suffix : List.of("c", "r")) {
                Env.sendMany(plain, env.queue("in" + suffix), "m", 3);
            }
            XAConnection connection = connect(env);
            Name committed = prepare(env, connection, "c");
            Name rolledBack = prepare(env, connection, "r");
            upheaval.happen(env.broker);
            XAResource resource = connect(env).createXASession().getXAResource();
            Env.check(isListed(resource, committed) && isListed(resource, rolledBack), "both are listed");
            Env.equal(List.of(), env.browse(env.queue("outc")), "before the commit");
            Session session = Env.auto(env.connect());
            MessageConsumer consumer = session.createConsumer(env.queue("inc"));
            Env.receiveTexts(consumer, "m2");
            Env.nothing(consumer);
            resource.commit(committed, false);
            resource.rollback(rolledBack);
            Env.check(!isListed(resource, committed) && !isListed(resource, rolledBack), "none is listed");
            Env.nothing(consumer);
            Env.equal(List.of("o"), env.browse(env.queue("outc")), "committed");
            Env.equal(List.of(), env.browse(env.queue("outr")), "rolled back");
            MessageConsumer again = session.createConsumer(env.queue("inr"));
            for (int i = 0; i < 3; i++) {
                Message message = Env.receive(again);
                Env.equal("m" + i, Env.textOf(message), "given back");
                // ActiveMQ forgets what it had dispatched; that nothing goes unflagged is ours.
                Env.check(env.broker.isReference || message.getJMSRedelivered(), "flagged");
            }
        });
        h.test("xa: a client that comes back after a " + what + " commits what it had prepared", env -> {
            XAConnection connection = new ActiveMQXAConnectionFactory(env.broker.failoverUrl).createXAConnection();
            connection.start();
            XASession session = connection.createXASession();
            Name name = Name.fresh();
            send(session, name, env, "once");
            Env.equal(XAResource.XA_OK, session.getXAResource().prepare(name), "vote");
            upheaval.happen(env.broker);
            session.getXAResource().commit(name, false);
            Env.equal(List.of("once"), env.browse(env.queue()), "queue");
            Env.check(!isListed(session.getXAResource(), name), "decided");
            connection.close();
        });
    }

    private static Name prepare(Env env, XAConnection connection, String suffix) throws Exception {
        XASession session = connection.createXASession();
        XAResource resource = session.getXAResource();
        MessageConsumer consumer = session.createConsumer(env.queue("in" + suffix));
        Name name = Name.fresh();
        resource.start(name, XAResource.TMNOFLAGS);
        Env.receiveMany(consumer, "m", 0, 2);
        Env.send(session, env.queue("out" + suffix), "o");
        resource.end(name, XAResource.TMSUCCESS);
        Env.equal(XAResource.XA_OK, resource.prepare(name), "vote");
        return name;
    }

    private static XAConnection connect(Env env) throws Exception {
        XAConnection connection = new ActiveMQXAConnectionFactory(env.broker.url()).createXAConnection();
        connection.start();
        env.closeLater(connection);
        return connection;
    }

    private static void send(XASession session, Name name, Env env, String text) throws Exception {
        session.getXAResource().start(name, XAResource.TMNOFLAGS);
        Env.send(session, env.queue(), text);
        session.getXAResource().end(name, XAResource.TMSUCCESS);
    }

    private static boolean isListed(XAResource resource, Name name) throws XAException {
        for (Xid xid : resource.recover(XAResource.TMSTARTRSCAN)) {
            if (xid.getFormatId() == name.getFormatId()
                    && Arrays.equals(xid.getGlobalTransactionId(), name.getGlobalTransactionId())
                    && Arrays.equals(xid.getBranchQualifier(), name.getBranchQualifier())) {
                return true;
            }
        }
        return false;
    }

    private static void code(int expected, Step step) throws Exception {
        try {
            step.take();
        } catch (XAException error) {
            Env.equal(expected, error.errorCode, "code of " + error.getMessage());
            return;
        }
        throw new AssertionError("no error, expected code " + expected);
    }
}
