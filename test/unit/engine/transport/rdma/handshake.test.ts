import { describe, expect, test } from 'vitest';
import { ErrorCode } from '../../../../../src/core/errors.ts';
import {
  cardOfNicPath,
  encodeHandshake,
  encodeRangesAnswer,
  encodeRangesQuestion,
  parseHandshake,
  parseRangesAnswer,
  parseRangesQuestion,
} from '../../../../../src/engine/transport/rdma/handshake.ts';

const range = {
  address: 0x7f00_0000_0000,
  lengthBytes: 4096,
  isReadable: true,
  isWritable: false,
  keys: { mlx5_0: 0xffff_ffff },
  preferred: ['mlx5_0'],
};

describe('handshakes', () => {
  test('are written as Mooncake writes them, but for ready_ack', () => {
    const text = encodeHandshake({
      localNicPath: '10.0.0.2:12345@mlx5_2',
      peerNicPath: '10.0.0.3:12346@mlx5_2',
      gid: '00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:02',
      queuePairs: [1234, 1235],
    });
    expect(text).toBe(
      '{"local_gid":"00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:02","local_lid":0,' +
        '"local_nic_path":"10.0.0.2:12345@mlx5_2","payload":"","peer_nic_path":"10.0.0.3:12346@mlx5_2",' +
        '"qp_num":[1234,1235],"reply_msg":""}',
    );
  });

  test('are read back, also from older engines that leave fields out', () => {
    expect(parseHandshake({ local_nic_path: 'a@b', qp_num: [7], reply_msg: 'no' })).toEqual({
      localNicPath: 'a@b',
      peerNicPath: '',
      gid: '',
      lid: 0,
      queuePairs: [7],
      payload: '',
      refusal: 'no',
    });
    expect(parseHandshake({ qp_num: null }).queuePairs).toEqual([]);
  });

  test.each([
    null,
    [],
    7,
    { qp_num: 'x' },
    { qp_num: [-1] },
    { qp_num: new Array(300).fill(1) },
    { local_lid: 2 ** 17 },
  ])('%j is none', (body) => {
    expect(() => parseHandshake(body)).toThrow(expect.objectContaining({ code: ErrorCode.RecordInvalid }));
  });

  test('ask for keys, and answer with them in the order of the question', () => {
    const question = parseHandshake(JSON.parse(encodeRangesQuestion([4096, 8192])));
    expect(parseRangesQuestion(question)).toEqual([4096, 8192]);
    const answer = parseHandshake(JSON.parse(encodeRangesAnswer([undefined, range])));
    expect(parseRangesAnswer(answer)).toEqual([null, range]);
    expect(parseRangesQuestion(parseHandshake({}))).toBeUndefined();
  });

  test.each(['{', '{}', '{"p2pstore_ranges":[0]}', `{"p2pstore_ranges":[${new Array(1025).fill(1)}]}`])(
    'payload %s asks nothing that is understood',
    (payload) => {
      expect(() => parseRangesQuestion(parseHandshake({ payload }))).toThrow(
        expect.objectContaining({ code: ErrorCode.RecordInvalid }),
      );
    },
  );

  test('cardOfNicPath() takes the card of the own segment, whatever its name holds', () => {
    expect(cardOfNicPath('10.0.0.2:12345@mlx5_2', '10.0.0.2:12345')).toBe('mlx5_2');
    expect(cardOfNicPath('a@b@mlx5_2', 'a@b')).toBe('mlx5_2');
    expect(cardOfNicPath('other@mlx5_2', 'a')).toBeUndefined();
  });
});
