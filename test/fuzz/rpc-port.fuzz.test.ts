/** The RPC port under requests that were captured and then damaged, over real sockets. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeRpcFrame, RpcFrameReader } from '../../src/engine/mooncake/rpc-frame.ts';
import type { TransferEngine } from '../../src/engine/transfer-engine.ts';
import { CAPTURED_HANDSHAKE, fromHex } from '../support/captured-frames.ts';
import { openEngine } from '../support/engines.ts';
import { fuzzRounds, mutateBytes, mutateJson, pick } from '../support/mutate.ts';
import { connectRaw } from '../support/raw-client.ts';

const HANDSHAKE =
  '{"local_gid":"00:00","local_lid":0,"local_nic_path":"a:1@mlx5_0","payload":"","peer_nic_path":"b:1@mlx5_0","qp_num":[1,2],"ready_ack":false,"reply_msg":""}\n';
const NOTIFY = '{"name":"a","notify_msg":"b"}\n';

let engine: TransferEngine;

beforeAll(async () => {
  engine = await openEngine();
});

afterAll(() => engine.close());

async function isAlive(): Promise<boolean> {
  await using client = await connectRaw(engine.rpcPort);
  client.send(encodeRpcFrame(3, '{}'));
  const reply = new RpcFrameReader().push((await client.end()).bytes);
  return reply?.type === 3;
}

test('no damaged request ends the engine or keeps others waiting', { timeout: 900_000 }, async () => {
  const frames = [
    fromHex(CAPTURED_HANDSHAKE.request),
    encodeRpcFrame(0, HANDSHAKE),
    encodeRpcFrame(undefined, HANDSHAKE),
    encodeRpcFrame(2, NOTIFY),
    encodeRpcFrame(3, '{}'),
  ];
  for (const { dice, repeat } of fuzzRounds(400)) {
    await using client = await connectRaw(engine.rpcPort);
    const isFrame = dice(2) === 0;
    const json = mutateJson(pick([HANDSHAKE, NOTIFY, '{}'], dice), dice);
    const type = pick([0, 1, 2, 3, undefined] as const, dice);
    client.send(isFrame ? mutateBytes(pick(frames, dice), dice, frames) : encodeRpcFrame(type, json));
    client.socket.end();
    const { bytes } = await client.end();
    if (bytes.length > 0 && new RpcFrameReader().push(bytes) === undefined)
      throw new Error(`half an answer: ${repeat}`);
    if (dice(20) === 0 && !(await isAlive())) throw new Error(`no answer to a probe: ${repeat}`);
  }
  expect(await isAlive()).toBe(true);
});
