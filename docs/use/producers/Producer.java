import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Send events to Mediana: one JSON object per line on stdin.
 *
 * <p>java -cp 'libs/*' Producer.java [BOOTSTRAP] [TOPIC_PREFIX] < events.jsonl (libs: org.apache.kafka:kafka-clients)
 *
 * <p>What matters: the key is the contact's id on both event topics, which have equally many partitions (Java's default
 * partitioner is right); idempotence and acks=all; an event keeps its id when it is sent again; an event is sent when
 * its Future is done, not when send() returns.
 */
public final class Producer {
  // A program of yours has an object here and a JSON library; these two look only at what Mediana requires to be text.
  private static final Pattern TYPE = field("type");
  private static final Pattern CONTACT = field("contact_id");
  private static final int IN_FLIGHT = 1000;

  public static void main(String[] args) throws Exception {
    String bootstrap = args.length > 0 ? args[0] : "127.0.0.1:9092";
    String prefix = args.length > 1 ? args[1] : "mediana";
    Properties settings = new Properties();
    settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
    settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
    settings.put(ProducerConfig.ACKS_CONFIG, "all");
    settings.put(ProducerConfig.LINGER_MS_CONFIG, 20);
    int sent = 0;
    List<Future<RecordMetadata>> waiting = new ArrayList<>();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        String topic = prefix + (text(TYPE, line).startsWith("contact.") ? ".contacts" : ".conversations");
        waiting.add(producer.send(new ProducerRecord<>(topic, text(CONTACT, line), line)));
        if (waiting.size() >= IN_FLIGHT) {
          sent += acknowledged(waiting);
        }
      }
      sent += acknowledged(waiting);
    }
    System.err.println(sent + " events acknowledged");
  }

  /** Wait for every acknowledgement. Throws what Kafka refused: send from there again, with the same ids. */
  private static int acknowledged(List<Future<RecordMetadata>> waiting) throws Exception {
    for (Future<RecordMetadata> future : waiting) {
      future.get();
    }
    int count = waiting.size();
    waiting.clear();
    return count;
  }

  private static Pattern field(String name) {
    return Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"\\\\]+)\"");
  }

  private static String text(Pattern field, String line) {
    Matcher found = field.matcher(line);
    if (!found.find()) {
      throw new IllegalArgumentException("no " + field + " in " + line);
    }
    return found.group(1);
  }
}
