// An Azure server for tests: Azurite's, with what Azurite leaves out.
//
// - A listing can begin at a name (`startFrom`), as that of a log does: Azurite begins at the first name all the same.
//
// server.js serve MODULES ENDPOINT IDLE   serves until there was no request for IDLE seconds
// server.js running ENDPOINT WAIT         prints the endpoint of a server that runs; the exit code says whether one does
//
// MODULES is the folder that Azurite is installed in, ENDPOINT the file that says where the server is.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const path = require("node:path");

// The account that every emulator of Azure has.
const ACCOUNT = "devstoreaccount1";
const KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const CONTAINER = "metaxy-test";
const PING = "/_metaxy/ping";
// Changes with the server, so that an old one that still runs isn't used.
const VERSION = crypto
  .createHash("sha256")
  .update(fs.readFileSync(__filename))
  .update(fs.readFileSync(path.join(__dirname, "package.json")))
  .digest("hex")
  .slice(0, 16);

/** The headers of a signed request without a body; `query` is what the signature says of the query. */
function signed(method, resource, query) {
  const own = `x-ms-date:${new Date().toUTCString()}\nx-ms-version:2023-11-03`;
  const text = [method, ...Array(11).fill(""), own, `/${ACCOUNT}${resource}`, query].join("\n");
  const signature = crypto.createHmac("sha256", Buffer.from(KEY, "base64")).update(text).digest("base64");
  const headers = Object.fromEntries(own.split("\n").map((line) => line.split(/:(.*)/s).slice(0, 2)));
  return { ...headers, authorization: `SharedKey ${ACCOUNT}:${signature}` };
}

async function createContainer(endpoint) {
  const resource = `/${ACCOUNT}/${CONTAINER}`;
  const headers = signed("PUT", resource, "restype:container");
  const answer = await fetch(`${endpoint}${resource}?restype=container`, { method: "PUT", headers });
  if (answer.status !== 201) throw new Error(`the container can't be made: ${answer.status} ${await answer.text()}`);
}

/** Lets listings begin at a name. */
function beginListings(Store) {
  const list = Store.prototype.listBlobs;
  Store.prototype.listBlobs = function (...args) {
    const [MARKER, context] = [7, args[0]];
    const first = context.request.getQuery("startFrom");
    // The marker is the name before; there is none between these two that anybody uses.
    if (first && !args[MARKER]) {
      const last = first.charCodeAt(first.length - 1);
      args[MARKER] = `${first.slice(0, -1)}${String.fromCharCode(last - 1)}\uffff`;
    }
    return list.apply(this, args);
  };
}

async function serve(modules, file, idle) {
  const from = (name) => require(path.join(modules, "node_modules/azurite/dist/src/blob", name)).default;
  process.env.AZURITE_ACCOUNTS = `${ACCOUNT}:${KEY}`;
  beginListings(from("persistence/LokiBlobMetadataStore"));
  const Configuration = from("BlobConfiguration");
  // A free port of the loopback; no logs, nothing on disk.
  const settings = ["127.0.0.1", 0, "", "", [], false, undefined, false, undefined, false, false, "", "", ""];
  const server = new (from("BlobServer"))(new Configuration(...settings, undefined, false, true));
  const http = server.httpServer;
  // Longer than clients keep connections that they don't use: none is closed while a request is under way.
  http.keepAliveTimeout = 120_000;
  const [answer] = http.listeners("request");
  let last = Date.now();
  http.removeAllListeners("request");
  http.on("request", (request, response) => {
    last = Date.now();
    if (request.url === PING) response.end(VERSION);
    else answer(request, response);
  });
  await server.start();
  const endpoint = server.getHttpServerAddress();
  await createContainer(endpoint);
  fs.writeFileSync(`${file}.new`, `${endpoint}/${ACCOUNT}\n`);
  fs.renameSync(`${file}.new`, file);
  setInterval(() => {
    if (Date.now() - last > idle * 1000) process.exit(0);
  }, 1000);
}

async function running(file, wait) {
  const end = Date.now() + wait * 1000;
  for (;;) {
    try {
      const endpoint = fs.readFileSync(file, "utf8").trim();
      const answer = await fetch(new URL(PING, endpoint), { signal: AbortSignal.timeout(5000) });
      if ((await answer.text()) === VERSION) {
        console.log(endpoint);
        return 0;
      }
    } catch {
      // No file yet, or nobody there.
    }
    if (Date.now() >= end) return 1;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const [what, ...args] = process.argv.slice(2);
if (what === "serve") {
  serve(args[0], args[1], Number(args[2])).catch((error) => {
    console.error(error);
    process.exit(1);
  });
} else {
  running(args[0], Number(args[1] ?? 0)).then(process.exit);
}
