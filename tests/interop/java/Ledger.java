import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.jms.JMSException;
import javax.jms.Message;

/**
 * What was sent and acknowledged, and every delivery with the outcome of its transaction.
 *
 * <p>Promises checked:
 * <ul>
 * <li>Lost: an acknowledged send that no committed (or in-doubt) transaction received.
 * <li>Duplicate: a message may be delivered again, but at most one of its deliveries may lack JMSRedelivered; and
 *     never again after a transaction that received it was confirmed, unless a takeover fell into that transaction.
 * <li>Order: the unflagged deliveries at one consumer, of one producer, ascend. Flagged ones may not: what another consumer had in
 *     its prefetch buffer comes back to any of them. Where a queue has a single consumer, the first deliveries of each
 *     message ascend without a gap, flagged or not.
 * </ul>
 */
final class Ledger {
    enum Outcome {
        OPEN,
        COMMITTED,
        /**
         * Committed, but the connection was lost since the first receive. The client does not repeat acknowledgements
         * that were lost with the connection, so a confirmed commit may lack some: such messages come again, and must be
         * flagged. On the connection that had them the client itself takes them for duplicates and sends them to the dead
         * letter queue: the application has had them.
         */
        COMMITTED_ACROSS_TAKEOVER,
        IN_DOUBT,
        ROLLED_BACK
    }

    static final class Delivery {
        final int consumer;
        final long time;
        final boolean isRedelivered;
        volatile Outcome outcome = Outcome.OPEN;
        volatile long settledAt;

        Delivery(int consumer, boolean isRedelivered) {
            this.consumer = consumer;
            this.isRedelivered = isRedelivered;
            this.time = System.nanoTime();
        }
    }

    static final class Entry {
        boolean isAcknowledged;
        boolean isDead;
        /** Most messages are delivered once: a list only for those that are not. */
        Delivery first;
        List<Delivery> more;

        List<Delivery> deliveries() {
            List<Delivery> all = new ArrayList<>();
            if (first != null) {
                all.add(first);
            }
            if (more != null) {
                all.addAll(more);
            }
            return all;
        }
    }

    /** One list for each producer; index = sequence - 1. */
    private final List<List<Entry>> producers = new ArrayList<>();
    /** Highest unflagged sequence, by consumer and producer. */
    private final Map<Long, Integer> highest = new HashMap<>();
    /** The producer whose queue has a single consumer, and the next sequence due there. */
    private final int lane;
    private int laneNext = 1;
    private final List<String> violations = new ArrayList<>();
    private int orderViolations;
    private int deadLetters;
    private int unexplainedDeadLetters;

    Ledger(int count) {
        for (int i = 0; i < count; i++) {
            producers.add(new ArrayList<>());
        }
        lane = count - 1;
    }

    /** The sequence of the next message of this producer; counted from 1. */
    int begin(int producer) {
        List<Entry> entries = producers.get(producer);
        synchronized (entries) {
            entries.add(new Entry());
            return entries.size();
        }
    }

    void acknowledge(int producer, int sequence) {
        List<Entry> entries = producers.get(producer);
        synchronized (entries) {
            entries.get(sequence - 1).isAcknowledged = true;
        }
    }

    long sent() {
        long total = 0;
        for (List<Entry> entries : producers) {
            synchronized (entries) {
                total += entries.size();
            }
        }
        return total;
    }

    Delivery deliver(int consumer, Message message) throws JMSException {
        int producer = message.getIntProperty("producer");
        int sequence = message.getIntProperty("sequence");
        Delivery delivery = new Delivery(consumer, message.getJMSRedelivered());
        List<Entry> entries = producers.get(producer);
        boolean isFirst;
        synchronized (entries) {
            Entry entry = entries.get(sequence - 1);
            isFirst = entry.first == null;
            if (isFirst) {
                entry.first = delivery;
            } else {
                if (entry.more == null) {
                    entry.more = new ArrayList<>(1);
                }
                entry.more.add(delivery);
            }
        }
        checkOrder(consumer, producer, sequence, delivery, isFirst);
        return delivery;
    }

    private synchronized void checkOrder(int consumer, int producer, int sequence, Delivery delivery, boolean isFirst) {
        if (!delivery.isRedelivered) {
            int before = highest.getOrDefault(key(consumer, producer), 0);
            if (sequence <= before) {
                orderViolation("consumer " + consumer + " got " + producer + ":" + sequence + " unflagged after "
                        + producer + ":" + before);
            }
            highest.put(key(consumer, producer), Math.max(before, sequence));
        }
        if (producer == lane && isFirst) {
            if (sequence != laneNext) {
                orderViolation("single consumer got " + producer + ":" + sequence + " when " + laneNext + " was due");
            }
            laneNext = Math.max(laneNext, sequence + 1);
        }
    }

    private void orderViolation(String text) {
        orderViolations++;
        note("order: " + text);
    }

    private static long key(int consumer, int producer) {
        return ((long) consumer << 32) | producer;
    }

    static void settle(List<Delivery> batch, Outcome outcome) {
        long now = System.nanoTime();
        for (Delivery delivery : batch) {
            delivery.settledAt = now;
            delivery.outcome = outcome;
        }
    }

    void deadLetter(Message message) throws JMSException {
        int producer = message.getIntProperty("producer");
        int sequence = message.getIntProperty("sequence");
        List<Entry> entries = producers.get(producer);
        synchronized (entries) {
            Entry entry = entries.get(sequence - 1);
            entry.isDead = true;
            deadLetters++;
            List<Delivery> deliveries = entry.deliveries();
            if (deliveries.stream().noneMatch(d -> d.outcome == Outcome.COMMITTED_ACROSS_TAKEOVER)) {
                unexplainedDeadLetters++;
                note("dead letter: " + producer + ":" + sequence + " " + describe(deliveries) + " "
                        + message.getStringProperty("dlqDeliveryFailureCause"));
            }
        }
    }

    private synchronized void note(String violation) {
        if (violations.size() < 30) {
            violations.add(violation);
        }
    }

    /** Prints the figures; true when no promise is broken. Some promises are ours alone and not asked of ActiveMQ. */
    boolean judge(boolean isReference) {
        int sent = 0;
        int acknowledged = 0;
        int lost = 0;
        int again = 0;
        int unflagged = 0;
        int afterCommit = 0;
        int inDoubt = 0;
        for (int producer = 0; producer < producers.size(); producer++) {
            List<Entry> entries = producers.get(producer);
            for (int i = 0; i < entries.size(); i++) {
                Entry entry = entries.get(i);
                String id = producer + ":" + (i + 1);
                List<Delivery> deliveries = entry.deliveries();
                sent++;
                acknowledged += entry.isAcknowledged ? 1 : 0;
                inDoubt += deliveries.stream().anyMatch(d -> d.outcome == Outcome.IN_DOUBT) ? 1 : 0;
                if (entry.isAcknowledged && !entry.isDead && deliveries.stream().noneMatch(Ledger::isConsumed)) {
                    lost++;
                    note("lost: " + id + " " + describe(deliveries));
                }
                if (deliveries.size() > 1) {
                    again++;
                    if (deliveries.stream().filter(d -> !d.isRedelivered).count() > 1) {
                        unflagged++;
                        note("duplicate without flag: " + id + " " + describe(deliveries));
                    }
                    if (isDeliveredAfterCommit(deliveries)) {
                        afterCommit++;
                        note("delivered after a confirmed commit: " + id + " " + describe(deliveries));
                    }
                }
            }
        }
        System.out.printf("sent %d, acknowledged %d, lost %d%n", sent, acknowledged, lost);
        System.out.printf("delivered more than once %d, of these without the redelivered flag %d,"
                + " after a confirmed commit %d; commits in doubt covered %d messages%n",
                again, unflagged, afterCommit, inDoubt);
        System.out.printf("order violations %d; dead letters %d, of these never consumed %d%n",
                orderViolations, deadLetters, unexplainedDeadLetters);
        for (String violation : violations) {
            System.out.println("  " + violation);
        }
        boolean isSafe = lost == 0 && acknowledged > 0;
        return isReference ? isSafe : isSafe && unflagged + afterCommit + orderViolations + unexplainedDeadLetters == 0;
    }

    private static boolean isConsumed(Delivery delivery) {
        return delivery.outcome != Outcome.OPEN && delivery.outcome != Outcome.ROLLED_BACK;
    }

    private static boolean isDeliveredAfterCommit(List<Delivery> deliveries) {
        for (Delivery one : deliveries) {
            for (Delivery other : deliveries) {
                if (one.outcome == Outcome.COMMITTED && other.time > one.settledAt) {
                    return true;
                }
            }
        }
        return false;
    }

    private static String describe(List<Delivery> deliveries) {
        StringBuilder text = new StringBuilder("[");
        for (Delivery d : deliveries) {
            text.append(" consumer ").append(d.consumer).append(' ').append(d.outcome)
                    .append(d.isRedelivered ? " flagged" : " unflagged");
        }
        return text.append(" ]").toString();
    }
}
