import java.io.File;
import org.apache.activemq.broker.BrokerFactory;
import org.apache.activemq.broker.BrokerService;
import org.apache.activemq.store.SharedFileLocker;
import org.apache.activemq.store.kahadb.KahaDBPersistenceAdapter;

/**
 * ActiveMQ Classic itself, to compare with: KahaDB in a directory that two of these may share, one OpenWire port.
 * Arguments: name, listen URI, directory, then options NAME=VALUE: config (an activemq.xml),
 * lockAcquireSleepInterval (ms) and concurrentStoreAndDispatchQueues (true or false). Everything else is as ActiveMQ
 * ships it.
 */
public final class ReferenceBroker {
    public static void main(String[] args) throws Exception {
        KahaDBPersistenceAdapter store = new KahaDBPersistenceAdapter();
        store.setDirectory(new File(args[2]));
        String config = null;
        for (int i = 3; i < args.length; i++) {
            String[] option = args[i].split("=", 2);
            switch (option[0]) {
                case "config" -> config = option[1];
                case "lockAcquireSleepInterval" -> {
                    SharedFileLocker locker = new SharedFileLocker();
                    locker.setLockAcquireSleepInterval(Long.parseLong(option[1]));
                    store.setLocker(locker);
                }
                case "concurrentStoreAndDispatchQueues" ->
                    store.setConcurrentStoreAndDispatchQueues(Boolean.parseBoolean(option[1]));
                default -> throw new IllegalArgumentException("unknown option " + args[i]);
            }
        }
        BrokerService broker = config == null ? new BrokerService()
                : BrokerFactory.createBroker("xbean:file:" + config + "?validate=false", false);
        broker.setBrokerName(args[0]);
        broker.setUseJmx(false);
        broker.setDataDirectoryFile(new File(args[2]));
        broker.setPersistenceAdapter(store);
        broker.addConnector(args[1]);
        System.out.println("standby");
        broker.start();
        System.out.println("active");
        broker.waitUntilStopped();
    }
}
