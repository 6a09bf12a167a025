// Send events to Mediana: one JSON object per line on stdin.
//
//     npm install kafkajs
//     node producer.mjs [BOOTSTRAP] [TOPIC_PREFIX] < events.jsonl
//
// What matters: the key is the contact's id on both event topics, which have equally many partitions; the partitioner
// is Java's, which is kafkajs's default since its version 2; idempotence, acks -1 (all) and one request in flight, or
// kafkajs may reorder; an event keeps its id when it is sent again; it is sent when the promise resolves.
import { createInterface } from "node:readline";
import kafkajs from "kafkajs";

const { CompressionTypes, Kafka, Partitioners, logLevel } = kafkajs;
const [bootstrap = "127.0.0.1:9092", prefix = "mediana"] = process.argv.slice(2);
const BATCH = 1000;

const kafka = new Kafka({ clientId: "my-service", brokers: bootstrap.split(","), logLevel: logLevel.ERROR });
const producer = kafka.producer({
  createPartitioner: Partitioners.DefaultPartitioner,
  idempotent: true,
  maxInFlightRequests: 1,
  allowAutoTopicCreation: false,
});

const send = async (events) => {
  const records = (kind) =>
    events
      .filter((event) => (event.type.startsWith("contact.") ? "contacts" : "conversations") === kind)
      .map((event) => ({ key: event.contact_id, value: JSON.stringify(event) }));
  const topicMessages = ["contacts", "conversations"]
    .map((kind) => ({ topic: `${prefix}.${kind}`, messages: records(kind) }))
    .filter(({ messages }) => messages.length > 0);
  // Throws what Kafka refused: send from there again, with the same ids.
  await producer.sendBatch({ topicMessages, acks: -1, compression: CompressionTypes.GZIP });
};

await producer.connect();
let sent = 0;
try {
  let batch = [];
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() !== "") batch.push(JSON.parse(line));
    if (batch.length >= BATCH) {
      await send(batch);
      sent += batch.length;
      batch = [];
    }
  }
  if (batch.length > 0) await send(batch);
  sent += batch.length;
} finally {
  await producer.disconnect();
}
console.error(`${sent} events acknowledged`);
