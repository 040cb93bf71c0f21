// Submits to a running network and reads back, with Fabric's published protobufs and nothing of
// sbft's: envelopes, header hashes and block signatures are made and checked here from scratch.
//
// usage: node client.js NETWORK_DIR [COUNT]
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const { common, orderer, msp } = require('@hyperledger/fabric-protos');
const { Timestamp } = require('google-protobuf/google/protobuf/timestamp_pb');
const abGrpc = require('@hyperledger/fabric-protos/lib/orderer/ab_grpc_pb');

const P256_ORDER = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');

const network = JSON.parse(fs.readFileSync(path.join(process.argv[2], 'network.json'), 'utf8'));
const count = Number(process.argv[3] || 40);
const credentials = network.tls_ca
  ? grpc.credentials.createSsl(fs.readFileSync(network.tls_ca))
  : grpc.credentials.createInsecure();
// Certificates name localhost as well; TLS wants a name, not an address.
const options = { 'grpc.max_receive_message_length': 200 * 1024 * 1024, 'grpc.ssl_target_name_override': 'localhost' };
const connect = (replica) => new abGrpc.AtomicBroadcastClient(replica.grpc, credentials, options);

const sha256 = (...parts) => {
  const hash = crypto.createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

const derInteger = (value) => {
  let hex = value.toString(16);
  if (hex.length % 2) hex = `0${hex}`;
  let bytes = Buffer.from(hex, 'hex');
  if (bytes[0] & 0x80) bytes = Buffer.concat([Buffer.from([0]), bytes]);
  return Buffer.concat([Buffer.from([0x02, bytes.length]), bytes]);
};
const derOctets = (bytes) => Buffer.concat([Buffer.from([0x04, bytes.length]), Buffer.from(bytes)]);
const derSequence = (...parts) => {
  const body = Buffer.concat(parts);
  assert.ok(body.length < 128);
  return Buffer.concat([Buffer.from([0x30, body.length]), body]);
};

function sign(key, message) {
  if (key.asymmetricKeyType === 'ed25519') return crypto.sign(null, message, key);
  const plain = crypto.sign('sha256', message, { key, dsaEncoding: 'ieee-p1363' });
  const r = BigInt(`0x${plain.subarray(0, 32).toString('hex')}`);
  let s = BigInt(`0x${plain.subarray(32).toString('hex')}`);
  if (s > P256_ORDER / 2n) s = P256_ORDER - s; // Fabric takes low s only
  return derSequence(derInteger(r), derInteger(s));
}

function verify(key, message, signature) {
  const algorithm = key.asymmetricKeyType === 'ed25519' ? null : 'sha256';
  return crypto.verify(algorithm, message, key, signature);
}

class Identity {
  constructor({ msp_id, cert, key }) {
    const identity = new msp.SerializedIdentity();
    identity.setMspid(msp_id);
    identity.setIdBytes(fs.readFileSync(cert));
    this.creator = Buffer.from(identity.serializeBinary());
    this.key = crypto.createPrivateKey(fs.readFileSync(key));
  }

  envelope(type, data, channel = network.channel) {
    const nonce = crypto.randomBytes(24);
    const txId = sha256(nonce, this.creator).toString('hex');
    const channelHeader = new common.ChannelHeader();
    channelHeader.setType(type);
    channelHeader.setChannelId(channel);
    channelHeader.setTxId(txId);
    const timestamp = new Timestamp();
    timestamp.setSeconds(Math.floor(Date.now() / 1000));
    channelHeader.setTimestamp(timestamp);
    const signatureHeader = new common.SignatureHeader();
    signatureHeader.setCreator(this.creator);
    signatureHeader.setNonce(nonce);
    const header = new common.Header();
    header.setChannelHeader(channelHeader.serializeBinary());
    header.setSignatureHeader(signatureHeader.serializeBinary());
    const payload = new common.Payload();
    payload.setHeader(header);
    payload.setData(data);
    const bytes = Buffer.from(payload.serializeBinary());
    const envelope = new common.Envelope();
    envelope.setPayload(bytes);
    envelope.setSignature(sign(this.key, bytes));
    return { envelope, txId };
  }
}

const client = new Identity(network.client);
const transaction = (size = 200) =>
  client.envelope(common.HeaderType.ENDORSER_TRANSACTION, crypto.randomBytes(size));

// Sends envelopes over one Broadcast stream; resolves to the answers in order.
function broadcast(replica, envelopes) {
  return new Promise((resolve, reject) => {
    const connection = connect(replica);
    const stream = connection.broadcast();
    const answers = [];
    stream.on('data', (answer) => {
      answers.push({ status: answer.getStatus(), info: answer.getInfo() });
      if (answers.length === envelopes.length) stream.end();
    });
    stream.on('end', () => { connection.close(); resolve(answers); });
    stream.on('error', (error) => { connection.close(); reject(error); });
    for (const envelope of envelopes) stream.write(envelope);
  });
}

const position = (set) => {
  const seek = new orderer.SeekPosition();
  set(seek);
  return seek;
};
const oldest = () => position((seek) => seek.setOldest(new orderer.SeekOldest()));
const specified = (number) => position((seek) => {
  const at = new orderer.SeekSpecified();
  at.setNumber(number);
  seek.setSpecified(at);
});
const newest = () => position((seek) => seek.setNewest(new orderer.SeekNewest()));

// Reads blocks until `enough(blocks)` or the end of the seek; resolves to { blocks, status }.
function deliver(replica, { start, stop, wait = false, headers = false }, enough = () => false) {
  return new Promise((resolve, reject) => {
    const info = new orderer.SeekInfo();
    info.setStart(start);
    info.setStop(stop);
    info.setBehavior(wait ? orderer.SeekInfo.SeekBehavior.BLOCK_UNTIL_READY : orderer.SeekInfo.SeekBehavior.FAIL_IF_NOT_READY);
    if (headers) info.setContentType(orderer.SeekInfo.SeekContentType.HEADER_WITH_SIG);
    const request = client.envelope(common.HeaderType.DELIVER_SEEK_INFO, info.serializeBinary()).envelope;
    const connection = connect(replica);
    const stream = connection.deliver();
    const blocks = [];
    const finish = (status) => { stream.removeAllListeners('error'); stream.on('error', () => {}); stream.cancel(); connection.close(); resolve({ blocks, status }); };
    stream.on('data', (response) => {
      if (response.hasBlock()) {
        blocks.push(response.getBlock());
        if (enough(blocks)) finish(null);
      } else finish(response.getStatus());
    });
    stream.on('error', (error) => { connection.close(); reject(error); });
    stream.write(request);
  });
}

const headerBytes = (header) => derSequence(
  derInteger(BigInt(header.getNumber())),
  derOctets(header.getPreviousHash_asU8()),
  derOctets(header.getDataHash_asU8()),
);

// The consenters' public keys, by id, from the genesis block.
function consenters() {
  const block = common.Block.deserializeBinary(fs.readFileSync(network.genesis));
  const envelope = common.Envelope.deserializeBinary(block.getData().getDataList_asU8()[0]);
  const payload = common.Payload.deserializeBinary(envelope.getPayload_asU8());
  const config = common.ConfigEnvelope.deserializeBinary(payload.getData_asU8()).getConfig();
  const group = config.getChannelGroup().getGroupsMap().get('Orderer');
  const value = group.getValuesMap().get('Orderers').getValue_asU8();
  const keys = new Map();
  for (const consenter of common.Orderers.deserializeBinary(value).getConsenterMappingList()) {
    const certificate = new crypto.X509Certificate(Buffer.from(consenter.getIdentity_asU8()));
    keys.set(consenter.getId(), certificate.publicKey);
  }
  return keys;
}

// Hash chain, data hashes and at least a quorum of valid signatures on each block; returns the tx ids.
function check(blocks, keys) {
  const n = keys.size;
  const f = Math.floor((n - 1) / 3);
  const quorum = Math.ceil((n + f + 1) / 2);
  const seen = [];
  let previous = null;
  for (const block of blocks) {
    const header = block.getHeader();
    const bytes = headerBytes(header);
    if (previous) assert.deepEqual(Buffer.from(header.getPreviousHash_asU8()), previous, 'hash chain');
    previous = sha256(bytes);
    const data = block.getData().getDataList_asU8();
    assert.deepEqual(Buffer.from(header.getDataHash_asU8()), sha256(...data), 'data hash');
    if (header.getNumber() === 0) continue;
    const slots = block.getMetadata().getMetadataList_asU8();
    assert.equal(slots.length, 5);
    const metadata = common.Metadata.deserializeBinary(slots[0]);
    const value = Buffer.from(metadata.getValue_asU8());
    const signers = new Set();
    for (const signature of metadata.getSignaturesList()) {
      const identifier = Buffer.from(signature.getIdentifierHeader_asU8());
      const id = common.IdentifierHeader.deserializeBinary(identifier).getIdentifier();
      const message = Buffer.concat([value, identifier, bytes]);
      assert.ok(verify(keys.get(id), message, Buffer.from(signature.getSignature_asU8())), `signature of ${id}`);
      signers.add(id);
    }
    assert.ok(signers.size >= quorum, `block ${header.getNumber()}: ${signers.size} signatures`);
    for (const bytes_ of data) {
      const envelope = common.Envelope.deserializeBinary(bytes_);
      const payload = common.Payload.deserializeBinary(envelope.getPayload_asU8());
      const channelHeader = common.ChannelHeader.deserializeBinary(payload.getHeader().getChannelHeader_asU8());
      seen.push(channelHeader.getTxId());
    }
  }
  return seen;
}

async function main() {
  const keys = consenters();
  const first = network.replicas[0];
  const up = network.replicas.filter((replica) => replica.pid !== null);
  const { blocks: [last] } = await deliver(first, { start: newest(), stop: newest() });
  const from = last.getHeader().getNumber() + 1;

  // One replica, then every replica at once, as Fabric's gateway does with each transaction.
  const mine = Array.from({ length: count }, () => transaction());
  for (const answer of await broadcast(first, mine.map((made) => made.envelope))) {
    assert.equal(answer.status, common.Status.SUCCESS, answer.info);
  }
  const shared = Array.from({ length: 10 }, () => transaction());
  const answers = await Promise.all(up.map((replica) => broadcast(replica, shared.map((made) => made.envelope))));
  for (const answer of answers.flat()) {
    const exists = answer.info === 'failed to submit request: request already exists';
    assert.ok(answer.status === common.Status.SUCCESS || exists, `${answer.status} ${answer.info}`);
  }

  // Read back from another replica until all are there, each exactly once.
  const expected = new Set([...mine, ...shared].map((made) => made.txId));
  const other = up[up.length - 1];
  const missing = new Set(expected);
  const enough = (blocks) => {
    for (const id of check(blocks.slice(-1), keys)) missing.delete(id);
    return missing.size === 0;
  };
  const stop = specified(Number.MAX_SAFE_INTEGER);
  await deliver(other, { start: specified(from), stop, wait: true }, enough);
  const whole = await deliver(other, { start: oldest(), stop: newest() });
  assert.equal(whole.status, common.Status.SUCCESS);
  const ids = check(whole.blocks, keys);
  for (const id of expected) assert.equal(ids.filter((seen) => seen === id).length, 1, `${id} exactly once`);

  // Headers with signatures, without data.
  const headers = await deliver(other, { start: specified(from), stop: specified(from), headers: true });
  assert.equal(headers.status, common.Status.SUCCESS);
  assert.ok(!headers.blocks[0].hasData() || headers.blocks[0].getData().getDataList().length === 0);

  // What is wrong is refused, and by its name.
  const stranger = client.envelope(common.HeaderType.ENDORSER_TRANSACTION, Buffer.from('x'), 'no-such-channel');
  const [unknown] = await broadcast(first, [stranger.envelope]);
  assert.equal(unknown.status, common.Status.BAD_REQUEST);
  assert.equal(unknown.info, 'channel does not exist');
  const forged = transaction().envelope;
  forged.setSignature(transaction().envelope.getSignature_asU8());
  const [forbidden] = await broadcast(first, [forged]);
  assert.equal(forbidden.status, common.Status.FORBIDDEN);
  const beyond = await deliver(first, { start: specified(1e9), stop: specified(1e9) });
  assert.equal(beyond.status, common.Status.NOT_FOUND);

  console.log(`ok: ${expected.size} envelopes submitted and read back, ${whole.blocks.length} blocks checked`);
}

main().catch((error) => { console.error(error); process.exit(1); });
