import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

import javax.jms.InvalidSelectorException;
import javax.jms.JMSException;

import org.apache.activemq.command.ActiveMQDestination;
import org.apache.activemq.command.ActiveMQMessage;
import org.apache.activemq.command.ActiveMQQueue;
import org.apache.activemq.command.ActiveMQTextMessage;
import org.apache.activemq.command.ActiveMQTopic;
import org.apache.activemq.command.Message;
import org.apache.activemq.command.MessageId;
import org.apache.activemq.filter.BooleanExpression;
import org.apache.activemq.filter.MessageEvaluationContext;
import org.apache.activemq.filter.NonCachedMessageEvaluationContext;
import org.apache.activemq.openwire.OpenWireFormat;
import org.apache.activemq.selector.SelectorParser;
import org.apache.activemq.util.ByteSequence;

/**
 * Writes the table that our selectors are held against: what ActiveMQ's own selectors say of some
 * messages. Its output is kept as src/broker/selector/conformance.tsv.
 *
 * A line `message` holds a message as it lies in the journal, in hexadecimal digits. A line `selector`
 * holds a selector and one letter for each of the messages in their order: T true, F false, U
 * unknown, X cannot be computed; or `invalid`. Backslash, tab, newline, carriage return and form feed
 * are written \\ \t \n \r \f.
 */
final class SelectorTable {
    private static final String[] VALUES = {
        "byteP", "shortP", "intP", "longP", "floatP", "doubleP", "textP", "boolP", "charP", "missing",
        "5", "5000000000", "9223372036854775808", "5.0", "'5'", "TRUE", "NULL", "-intP", "(intP + 0)", "intP = 5",
    };

    private static final String[] OPERATORS = {"=", "<>", "<", ">=", "+", "/"};

    private static final String[] SINGLE = {
        // Syntax.
        "", " ", "a", "a b", "(boolP)", "((boolP)", "boolP)", "()", "TRUE", "true", "tRuE", "FALSE", "NULL", "1", "'a'",
        "textP", "-boolP", "+boolP", "intP", "intP + 1", "-(intP) = -5", "- - intP = 5", "--intP = 5", "+ +intP = 5", "+-+intP = -5",
        "intP = 5 -- the end", "intP = 5 -- the end\n", "-- a line\nintP = 5", "-- a line\rintP = 5", "/* b */ intP = 5", "/**/intP/***/=/* * / */5",
        "/* open intP = 5", "intP = 5 /", "intP == 5", "intP != 5", "intP < > 5", "intP > = 5", "intP => 5", "intP =< 5", "!boolP", "intP = 5;",
        "intP = 5 AND", "AND intP = 5", "intP = 5 OR OR boolP", "intP = 5 intP = 5", "\tintP\n=\r\f5 ", "\u00a0intP = 5", "\u00e4 = 1",
        "_x = 1", "$x = 2", "a.b = 1", "a-b = 1", "Jms = 1", "order = 1", "and = 1", "AND = 1", "in = 1", "escape = 1", "xpath = 1", "x1y2 = 3", "1x = 3", "not_there IS NULL",
        // Literals.
        "intP = 05", "intP = 5L", "intP = 5l", "intP = 0x5", "intP = 0X5", "intP = 0x", "intP = 0x5L", "intP = 5.", "intP = .5e1", "intP = 5e0", "intP = 50e-1",
        "intP = 0.5E+1", "intP = 5.0f", "intP = 5.0d", "intP = 5e", "intP = 08", "intP = 0", "intP = 00005", "intP = 5.5.5", "intP = .", "intP < 1e400", "intP > -1e400",
        "longP < 9223372036854775807", "longP < 9223372036854775808", "intP = 18446744073709551616", "intP < 18446744073709551616", "intP < 18446744073709551621",
        "longP > -9223372036854775808", "longP > -9223372036854775809", "99999999999999999999 = 99999999999999999999", "99999999999999999998 < 99999999999999999999",
        "-99999999999999999998 > -99999999999999999999", "99999999999999999999 > -99999999999999999998", "99999999999999999999 > 5", "99999999999999999999 + 1 > 0", "99999999999999999999 + 1.0 > 0",
        "longP = 0xFFFFFFFF", "longP = 0x7fffffffffffffff", "longP = 0x8000000000000000", "longP = 0777777777777777777777", "longP = 01000000000000000000000", "intP = 5000000000 - 4999999995",
        "textP = ''", "textP = ''''", "textP = 'it''s'", "textP = 'open", "textP = \"5\"", "textP = 'a' 'b'", "textP = '\u00e4\u20ac'", "textP = '\ud83d\ude00'", "textP = 'a\nb'", "textP = 'a\\b'",
        // NULL and missing.
        "missing IS NULL", "missing IS NOT NULL", "missing is not null", "intP IS NULL", "intP IS NOT NULL", "intP IS", "intP IS NOT", "intP IS 5", "NOT missing IS NULL", "5 IS NULL", "NULL IS NULL",
        "(missing = 1) IS NULL", "(intP = 5) IS NULL", "missing", "NOT missing", "missing = missing", "missing <> missing", "missing = other", "NOT (missing = 5)", "NOT (5 = missing)", "missing <> 5", "5 <> missing",
        "nullP IS NULL", "nullP = 5", "missing IS NULL IS NULL", "missing + 1 = 2", "1 + missing = 2", "-missing = 1", "NOT NULL", "NULL OR TRUE", "NULL AND TRUE", "NULL AND FALSE",
        // Logic.
        "boolP", "NOT boolP", "NOT NOT boolP", "boolP AND boolP", "boolP AND missing", "missing AND boolP", "NOT boolP AND missing", "missing AND NOT boolP", "boolP OR missing", "missing OR boolP", "missing OR missing",
        "NOT (missing AND boolP)", "NOT (missing OR boolP)", "boolP = TRUE", "boolP = FALSE", "boolP <> FALSE", "TRUE = boolP", "TRUE = TRUE", "TRUE = FALSE", "TRUE = 1", "1 = TRUE", "TRUE = 'TRUE'", "TRUE > FALSE", "boolP > FALSE", "boolP > otherBoolP",
        "NOT intP = 5", "NOT (intP = 5)", "NOT intP > 5", "NOT boolP = FALSE", "NOT intP", "NOT 5", "NOT 'a'", "intP AND boolP", "5 AND boolP", "'a' OR boolP", "boolP AND 5", "textP OR boolP", "boolP AND intP = 5 OR FALSE", "FALSE AND FALSE OR TRUE", "TRUE OR FALSE AND FALSE",
        "(TRUE OR FALSE) AND FALSE", "intP = 5 = TRUE", "TRUE = intP = 5", "boolP = (intP = 5)", "(intP = 5) = (longP = 5)", "(intP = 5) > 1", "1 < (intP = 5)", "1 < intP < 3", "1 < 2 < 3", "intP = 5 AND longP = 5 AND doubleP = 5", "intP = 1 OR longP = 1 OR doubleP = 5",
        "(intP + 'x' = 1) OR boolP", "boolP OR (intP + 'x' = 1)", "missing AND (intP + 'x' = 1)", "NOT (missing AND (intP + 'x' = 1))",
        // BETWEEN, IN, LIKE.
        "intP BETWEEN 1 AND 5", "intP BETWEEN 5 AND 1", "intP NOT BETWEEN 1 AND 4", "intP not between 1 and 5", "missing BETWEEN 1 AND 5", "missing NOT BETWEEN 1 AND 5", "intP BETWEEN missing AND 5", "intP BETWEEN missing AND 1", "intP NOT BETWEEN missing AND 1", "intP BETWEEN 'a' AND 'b'",
        "textP BETWEEN intP AND longP", "intP BETWEEN 1 AND 5 AND boolP", "intP BETWEEN 1 OR 5", "intP BETWEEN 1", "5 BETWEEN intP AND longP", "(intP + 1) BETWEEN 6 AND 6", "intP BETWEEN 2 + 3 AND 4 + 1", "intP BETWEEN TRUE AND 5", "NOT intP BETWEEN 1 AND 5",
        "textP IN ('5', 'abc')", "textP NOT IN ('5', 'abc')", "textP IN ('x')", "textP IN ()", "textP IN ('5',)", "textP IN '5'", "textP IN ('5'", "textP IN (5)", "textP IN (textP)", "intP IN ('5')", "intP NOT IN ('5')", "missing IN ('5')", "missing NOT IN ('5')", "NOT missing IN ('5')",
        "(textP) IN ('5')", "'5' IN ('5')", "5 IN ('5')", "textP + 'x' IN ('5x')", "textP IN ('1', '2', '3', '4', '5', '6')", "textP IN ('', 'it''s')", "textP NOT IN ('1', '2', '3', '4', '5', '6')", "boolP IN ('true')", "textP in ('5') AND boolP",
        "textP LIKE '5'", "textP LIKE '%'", "textP LIKE '_'", "textP LIKE ''", "textP LIKE 'a%'", "textP LIKE '%c'", "textP LIKE 'a_c'", "textP LIKE '%b%'", "textP like 'A%'", "textP NOT LIKE 'a%'", "missing LIKE '%'", "missing NOT LIKE '%'", "intP LIKE '5'", "intP NOT LIKE '5'", "textP LIKE 5",
        "textP LIKE otherP", "textP LIKE 'a' 'b'", "'abc' LIKE 'a%'", "textP + 'x' LIKE '%x'", "NOT textP LIKE 'a%'", "textP LIKE 'a.c'", "textP LIKE '[a]bc'", "textP LIKE '(a|b)*'", "textP LIKE '^abc$'", "textP LIKE '___'", "textP LIKE '__'", "textP LIKE 'a%b%c'", "textP LIKE '%%c'", "textP LIKE 'a_b'", "textP LIKE '_b'",
        "textP LIKE '\\%' ESCAPE '\\'", "textP LIKE '\\_%' ESCAPE '\\'", "textP LIKE '5x%' ESCAPE 'x'", "textP LIKE '%x%%' ESCAPE 'x'", "textP LIKE 'a\\bc' ESCAPE '\\'", "textP LIKE 'a\\\\%' ESCAPE '\\'", "textP LIKE 'abc\\' ESCAPE '\\'", "textP LIKE 'a' ESCAPE ''", "textP LIKE 'a' ESCAPE 'ab'", "textP LIKE 'a' ESCAPE 5",
        "textP LIKE 'a' ESCAPE", "textP LIKE '%!%%' ESCAPE '!'", "textP LIKE 'a%' ESCAPE '%'", "textP LIKE 'a%%' ESCAPE '%'", "textP LIKE 'it''%'", "textP LIKE '%\ud83d\ude00%'", "textP LIKE '_' AND boolP", "textP LIKE 'a\\nb'",
        // Arithmetic.
        "intP + 1 = 6", "intP - 1 = 4", "intP * 2 = 10", "intP / 2 = 2.5", "intP / 2 = 2", "intP % 3 = 2", "intP % 3 = 2.0", "intP / 0 > 1", "intP % 0 = 0", "1 + 2 * 3 = 7", "(1 + 2) * 3 = 9", "10 - 4 - 3 = 3", "100 / 10 / 2 = 5", "7 % 4 * 2 = 6", "2 * -3 = -6", "2 - -3 = 5", "2--3 = 5", "2+-3 = -1",
        "2147483647 + 1 = -2147483648", "2147483647 + 1 = 2147483648", "2147483647 * 2 = -2", "5000000000 + 1 = 5000000001", "9223372036854775807 + 1 < 0", "-2147483648 = 0 - 2147483648", "- 2147483648 - 1 < 0", "1.5 + 1.5 = 3", "0.1 + 0.2 = 0.3", "3 = 1.5 + 1.5", "longP + intP = 10", "byteP + shortP = 10",
        "byteP + 1 = 6", "byteP * byteP = 25", "-byteP = -5", "-shortP = -5", "-longP = -5", "-floatP = -5", "-doubleP = -5.0", "-textP = 5", "-charP = 5", "textP + 1 = '51'", "textP + textP = '55'", "'a' + 'b' = 'ab'", "1 + 'a' = 2", "'a' - 'b' = 1", "'a' * 2 = 1", "textP - 1 = 4", "boolP + 1 = 2", "1 + boolP = 2", "textP + boolP = '5true'",
        "textP + missing = 'x'", "'v' + 1.0 = 'v1.0'", "'v' + 1e7 = 'v1.0E7'", "'v' + 0.001 = 'v0.001'", "'v' + 1e-4 = 'v1.0E-4'", "'v' + 123456.789 = 'v123456.789'", "'v' + floatP = 'v5.0'", "'v' + doubleP = 'v5.0'", "'v' + byteP = 'v5'", "'v' + charP = 'va'", "'v' + (intP = 5) = 'vtrue'", "'v' + 99999999999999999999 = 'v99999999999999999999'",
        "'v' + -99999999999999999999 = 'v-99999999999999999999'", "floatP + 1 = 6", "floatP + 0.1 = 5.1", "floatP * 2 = 10.0", "doubleP = floatP", "floatP = doubleP", "doubleP < floatP", "floatP = 5.5", "5.5 = floatP", "floatP < 5.6", "nanP = nanP", "nanP > 1", "nanP < 1", "zeroP = 0.0", "zeroP = -0.0", "zeroP < 0.0", "0.0 = zeroP",
        "textP < otherP", "textP > otherP", "textP >= textP", "textP <= textP", "charP = 'a'", "charP = charP", "charP < charP", "charP + 1 = 2", "bytesP = 1",
        // Headers.
        "JMSMessageID = 'ID:host-1-2:3:4:5:6'", "JMSMessageID LIKE 'ID:host%'", "JMSDestination = 'queue://Q'", "JMSDestination = 'topic://T'", "JMSDestination LIKE 'queue:%'", "JMSReplyTo IS NULL", "JMSReplyTo = 'topic://R'", "JMSType IS NULL", "JMSType = 'car'", "JMSType LIKE 'c_r'", "JMSType = '\ud83d\ude00'", "JMSType LIKE '_'", "JMSType LIKE '__'", "JMSType LIKE '%\ud83d\ude00'", "JMSType > textP", "textP > JMSType",
        "JMSDeliveryMode = 'PERSISTENT'", "JMSDeliveryMode = 'NON_PERSISTENT'", "JMSDeliveryMode = 2", "JMSPriority = 4", "JMSPriority > 4", "JMSPriority BETWEEN 4 AND 7", "JMSTimestamp > 0", "JMSTimestamp = 1000", "JMSCorrelationID IS NULL", "JMSCorrelationID = 'c'", "JMSExpiration = 0", "JMSExpiration > 0",
        "JMSRedelivered", "JMSRedelivered = FALSE", "JMSXDeliveryCount = 1", "JMSXDeliveryCount > 1", "JMSXGroupID IS NULL", "JMSXGroupID = 'g'", "JMSXGroupSeq = 0", "JMSXGroupSeq = 3", "JMSXUserID IS NULL", "JMSXUserID = 'u'", "JMSXProducerTXID IS NULL", "JMSXProducerTXID LIKE 'TX:%'",
        "JMSActiveMQBrokerInTime = 0", "JMSActiveMQBrokerInTime = 7", "JMSActiveMQBrokerOutTime = 0", "JMSActiveMQBrokerPath = 'null'", "JMSXGroupFirstForConsumer", "jmspriority IS NULL", "JMS_Vendor IS NULL", "JMSFoo IS NULL", "JMSPriority IN ('4')", "JMSType IN ('car', 'bike')", "JMSPriority", "NOT JMSRedelivered",
        // Functions.
        "INLIST(MAKELIST('5', 'abc'), textP)", "INLIST(MAKELIST(5, 6), intP)", "INLIST(MAKELIST(5, 6), longP)", "INLIST(MAKELIST(missing), intP)", "INLIST(MAKELIST(5, missing), intP)", "INLIST(textP, textP)", "INLIST(missing, textP)", "INLIST(MAKELIST(1))", "INLIST()", "MAKELIST()", "MAKELIST(1)", "MAKELIST(1) = MAKELIST(1)",
        "MAKELIST(1) = 1", "MAKELIST(1) < 2", "inlist(MAKELIST(1), 1)", "NOT INLIST(MAKELIST(5), intP)", "INLIST(MAKELIST(5), intP) = TRUE", "INLIST(MAKELIST(5), intP) > 1", "INLIST(MAKELIST((intP + 1)), 6)", "INLIST(MAKELIST(intP + 1), 6)", "INLIST (MAKELIST(5), intP)", "NOSUCH(1)", "INLIST(MAKELIST(TRUE), (intP = 5))", "'l' + MAKELIST(1, 'a') = 'l[1, a]'",
        // Conversion.
        "convert_string_expressions:intP = '5'", "convert_string_expressions:'5' = intP", "convert_string_expressions:textP = 5", "convert_string_expressions:5 = textP", "convert_string_expressions:textP > 4", "convert_string_expressions:textP < 4", "convert_string_expressions:doubleP = '5'", "convert_string_expressions:doubleP = ' 5.0 '",
        "convert_string_expressions:floatP = '5f'", "convert_string_expressions:intP = '5.0'", "convert_string_expressions:intP = ' 5'", "convert_string_expressions:intP = '+5'", "convert_string_expressions:byteP = '5'", "convert_string_expressions:shortP = '5'", "convert_string_expressions:longP = '5'", "convert_string_expressions:boolP = 'true'",
        "convert_string_expressions:'true' = boolP", "convert_string_expressions:'TRUE' = boolP", "convert_string_expressions:'x' = boolP", "convert_string_expressions:textP BETWEEN 1 AND 9", "convert_string_expressions:textP IN ('5')", "convert_string_expressions:charP = 'a'", "convert_string_expressions:", "convert_string_expressions: textP = 5",
        "Convert_string_expressions:textP = 5", " convert_string_expressions:textP = 5", "no_convert_string_expressions:textP = 5", "hyphenated_props:a-b = 1", "convert_string_expressions:doubleP = 'NaN'", "convert_string_expressions:doubleP < 'Infinity'", "convert_string_expressions:doubleP < 'inf'", "convert_string_expressions:textP = 99999999999999999999",
    };

    private SelectorTable() {}

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        out.println("# Made by tests/interop/java/SelectorTable.java with the selectors of ActiveMQ 5.17.2; see there.");
        OpenWireFormat format = new OpenWireFormat(12);
        format.setTightEncodingEnabled(false);
        format.setSizePrefixDisabled(true);
        format.setCacheEnabled(false);
        List<Message> messages = new ArrayList<>();
        for (Message message : messages()) {
            ByteSequence bytes = format.marshal(message);
            out.println("message\t" + hex(bytes));
            messages.add((Message) format.unmarshal(new ByteSequence(bytes.data, bytes.offset, bytes.length)));
        }
        for (String selector : selectors()) {
            out.println("selector\t" + escaped(selector) + "\t" + verdicts(selector, messages));
        }
        out.flush();
    }

    private static Set<String> selectors() {
        Set<String> all = new LinkedHashSet<>(List.of(SINGLE));
        for (String left : VALUES) {
            for (String right : VALUES) {
                for (String operator : OPERATORS) {
                    String both = left + " " + operator + " " + right;
                    all.add(operator.equals("+") || operator.equals("/") ? both + " > 6" : both);
                }
            }
        }
        return all;
    }

    private static String verdicts(String selector, List<Message> messages) {
        BooleanExpression expression;
        SelectorParser.clearCache();
        try {
            expression = SelectorParser.parse(selector);
        } catch (InvalidSelectorException e) {
            return "invalid";
        }
        StringBuilder letters = new StringBuilder();
        for (Message message : messages) {
            MessageEvaluationContext context = new NonCachedMessageEvaluationContext();
            context.setMessageReference(message);
            char letter;
            try {
                Object value = expression.evaluate(context);
                letter = value == null ? 'U' : (Boolean) value ? 'T' : 'F';
            } catch (JMSException | RuntimeException e) {
                letter = 'X';
            }
            boolean matches = false;
            try {
                matches = expression.matches(context);
            } catch (JMSException | RuntimeException e) {
                // Not selected, then.
            }
            if (matches != (letter == 'T')) {
                throw new IllegalStateException("`" + selector + "`: " + letter + ", but matches: " + matches);
            }
            letters.append(letter);
        }
        return letters.toString();
    }

    private static List<Message> messages() throws Exception {
        List<Message> all = new ArrayList<>();
        all.add(message("Q"));

        ActiveMQMessage fives = message("Q");
        fives.setByteProperty("byteP", (byte) 5);
        fives.setShortProperty("shortP", (short) 5);
        fives.setIntProperty("intP", 5);
        fives.setLongProperty("longP", 5);
        fives.setFloatProperty("floatP", 5);
        fives.setDoubleProperty("doubleP", 5);
        fives.setStringProperty("textP", "5");
        fives.setStringProperty("otherP", "6");
        fives.setBooleanProperty("boolP", true);
        fives.setObjectProperty("charP", 'a');
        fives.setObjectProperty("nullP", null);
        fives.setDoubleProperty("nanP", Double.NaN);
        fives.setDoubleProperty("zeroP", -0.0);
        fives.setIntProperty("_x", 1);
        fives.setIntProperty("$x", 2);
        fives.setIntProperty("x1y2", 3);
        fives.setPersistent(true);
        fives.setPriority((byte) 7);
        fives.setTimestamp(1000);
        fives.setExpiration(4_000_000_000_000L);
        fives.setCorrelationId("c");
        fives.setReplyTo(new ActiveMQTopic("R"));
        fives.setType("car");
        fives.setGroupID("g");
        fives.setGroupSequence(3);
        fives.setUserID("u");
        fives.setBrokerInTime(7);
        all.add(fives);

        ActiveMQMessage edges = message("Q");
        edges.setByteProperty("byteP", Byte.MIN_VALUE);
        edges.setShortProperty("shortP", Short.MAX_VALUE);
        edges.setIntProperty("intP", Integer.MIN_VALUE);
        edges.setLongProperty("longP", Long.MAX_VALUE);
        edges.setFloatProperty("floatP", 5.5f);
        edges.setDoubleProperty("doubleP", Double.MAX_VALUE);
        edges.setStringProperty("textP", "abc");
        edges.setStringProperty("otherP", "ab");
        edges.setBooleanProperty("boolP", false);
        edges.setBooleanProperty("otherBoolP", true);
        edges.setObjectProperty("charP", '5');
        edges.setFloatProperty("nanP", Float.NaN);
        edges.setFloatProperty("zeroP", 0);
        edges.setDestination(new ActiveMQTopic("T"));
        edges.setOriginalDestination(ActiveMQDestination.createDestination("O", ActiveMQDestination.QUEUE_TYPE));
        all.add(edges);

        String[][] texts = {{"it's", ""}, {"", "a"}, {"a\nb", "a"}, {"%", "\uffff"}, {"_\\", "x"}, {"\uffff", "\ufffe"}, {"\u00e4\u20ac", "z"}, {"a\\b", "a"}};
        for (String[] pair : texts) {
            ActiveMQMessage text = message("Q");
            text.setStringProperty("textP", pair[0]);
            text.setStringProperty("otherP", pair[1]);
            text.setLongProperty("intP", 5);
            text.setIntProperty("longP", 5);
            text.setStringProperty("boolP", "true");
            // The client loses what is beyond the basic plane in properties, but not in fields.
            text.setType("\ud83d\ude00");
            all.add(text);
        }
        return all;
    }

    private static ActiveMQMessage message(String queue) throws Exception {
        ActiveMQMessage message = new ActiveMQTextMessage();
        message.setMessageId(new MessageId("ID:host-1-2:3:4:5:6"));
        message.setDestination(new ActiveMQQueue(queue));
        message.setPriority((byte) 4);
        return message;
    }

    private static String hex(ByteSequence bytes) {
        StringBuilder digits = new StringBuilder();
        for (int i = 0; i < bytes.length; i++) {
            digits.append(String.format("%02x", bytes.data[bytes.offset + i]));
        }
        return digits.toString();
    }

    private static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\f", "\\f");
    }
}
