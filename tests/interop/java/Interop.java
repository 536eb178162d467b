/**
 * Runs all suites against one broker or pair. Options: --url URL (the active broker), --failover-url URL (all members),
 * --reference (it is ActiveMQ itself), --controlled (the runner restarts and kills on request), --filter TEXT.
 */
public final class Interop {
    public static void main(String[] args) {
        String url = null;
        String failoverUrl = null;
        String filter = null;
        boolean isReference = false;
        boolean isControlled = false;
        for (int i = 0; i < args.length; i++) {
            switch (args[i]) {
                case "--url" -> url = args[++i];
                case "--failover-url" -> failoverUrl = args[++i];
                case "--filter" -> filter = args[++i];
                case "--reference" -> isReference = true;
                case "--controlled" -> isControlled = true;
                default -> throw new IllegalArgumentException("unknown option " + args[i]);
            }
        }
        if (url == null) {
            throw new IllegalArgumentException("--url is missing");
        }
        if (failoverUrl == null) {
            failoverUrl = "failover:(" + url + ")";
        }
        Broker broker = new Broker(url, failoverUrl, isReference, isControlled);
        Harness harness = new Harness(broker, filter);
        Messages.run(harness);
        Acks.run(harness);
        Transactions.run(harness);
        Xa.run(harness);
        Queues.run(harness);
        QueueSelectors.run(harness);
        Groups.run(harness);
        Topics.run(harness);
        Composites.run(harness);
        VirtualDestinations.run(harness);
        Advisories.run(harness);
        DeadLetters.run(harness);
        Redelivery.run(harness);
        Schedules.run(harness);
        FlowControl.run(harness);
        LargeMessages.run(harness);
        TopicPolicies.run(harness);
        Connections.run(harness);
        Security.run(harness);
        Reconnects.run(harness);
        if (isControlled) {
            Restarts.run(harness);
            Xa.runControlled(harness);
        } else {
            System.out.println("left out: everything about restart and takeover, as this broker is not ours to stop");
        }
        System.exit(harness.finish() ? 0 : 1);
    }
}
