/** Records of objects as Mooncake's Go store left them in etcd, byte by byte (commit 3b5a5941, 2026-11-22). */

const gold = ['139908089905152', '139908157014016', '139908224122880', '139908291231744'];
const replica = ['140429324451840', '140429391560704', '140429458669568', '140429525778432'];

function record(shards: readonly string[]): string {
  return `{"name":"foo/bar","size":268435456,"size_list":[268435456],"max_shard_size":67108864,"shards":[${shards.join(',')}]}`;
}

const at = (port: number, offset: string | undefined): string =>
  `[{"segment_name":"127.0.0.1:${port}","offset":${offset}}]`;

export const CAPTURED_PAYLOAD_KEY = 'mooncake/checkpoint/foo/bar';

/** After the second store had pulled it. */
export const CAPTURED_WITH_REPLICA: string = record(
  gold.map(
    (offset, shard) => `{"size":67108864,"gold":${at(12345, offset)},"replica_list":${at(12346, replica[shard])}}`,
  ),
);

/** After the first store had taken it back. */
export const CAPTURED_WITHOUT_GOLD: string = record(
  replica.map((offset) => `{"size":67108864,"gold":null,"replica_list":${at(12346, offset)}}`),
);
