// Asks a gRPC server for its health with nothing but what Node.js brings along, as any gRPC client in any language does:
//
//	cellnode forward exchange 127.0.0.1:7000 &
//	node health.mjs http://127.0.0.1:7000
import http2 from "node:http2";

const session = http2.connect(process.argv[2]);
session.on("error", fail);
const call = session.request({
  ":method": "POST",
  ":path": "/grpc.health.v1.Health/Check",
  "content-type": "application/grpc",
  te: "trailers",
});
call.on("error", fail);
call.on("trailers", (trailers) => {
  if (trailers["grpc-status"] !== "0") fail(new Error(`status ${trailers["grpc-status"]}: ${trailers["grpc-message"]}`));
});
const chunks = [];
call.on("data", (chunk) => chunks.push(chunk));
call.on("end", () => {
  session.close();
  // Five bytes of frame, then the message HealthCheckResponse: field 1, a varint. 1 is SERVING.
  const reply = Buffer.concat(chunks);
  console.log(reply.length === 7 && reply[5] === 8 && reply[6] === 1 ? "SERVING" : `reply ${reply.toString("hex")}`);
});
call.end(Buffer.alloc(5)); // an empty HealthCheckRequest

function fail(err) {
  console.error(err.message);
  process.exit(1);
}
