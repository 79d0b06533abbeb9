/** Bytes of the data port as captured (tcpdump) between two engines of Mooncake at commit 3b5a5941, 2026-11-22. */
import type { Header } from '../../src/engine/transport/tcp/framing.ts';

export function fromHex(hex: string): Buffer {
  return Buffer.from(hex.replace(/\s/g, ''), 'hex');
}

export const CAPTURED_HEADERS: readonly { readonly name: string; readonly hex: string; readonly header: Header }[] = [
  {
    name: 'READ of version 2, 64 bytes',
    hex: '4000000000000000 00d06f0c607f0000 80302e313a313830',
    header: { opcode: 'read', version: 2, lengthBytes: 64, address: 0x7f60_0c6f_d000 },
  },
  {
    name: 'READ of version 1, 64 bytes',
    hex: '4000000000000000 00d06f0c607f0000 00302e313a313830',
    header: { opcode: 'read', version: 1, lengthBytes: 64, address: 0x7f60_0c6f_d000 },
  },
  {
    name: 'WRITE of version 2, 48 bytes',
    hex: '3000000000000000 00e06f0c607f0000 81302e313a313830',
    header: { opcode: 'write', version: 2, lengthBytes: 48, address: 0x7f60_0c6f_e000 },
  },
  {
    name: 'WRITE of version 1, 48 bytes',
    hex: '3000000000000000 00f06f0c607f0000 01302e313a313830',
    header: { opcode: 'write', version: 1, lengthBytes: 48, address: 0x7f60_0c6f_f000 },
  },
  {
    name: 'READ of version 2 at an address that is refused',
    hex: '4000000000000000 0010000000000000 80302e313a313830',
    header: { opcode: 'read', version: 2, lengthBytes: 64, address: 0x1000 },
  },
  {
    name: 'READ of version 2 on a pooled connection, 32 bytes',
    hex: '2000000000000000 00d16f0c607f0000 8000000000000000',
    header: { opcode: 'read', version: 2, lengthBytes: 32, address: 0x7f60_0c6f_d100 },
  },
];

export const CAPTURED_STATUSES = { ok: '00000000 5654434d', rejected: '01000000 5654434d' } as const;

/** The 64 bytes that both READs answered. */
export const CAPTURED_READ_PAYLOAD: string = `
  078a0d901396199c1fa225a82bae31b4 37ba3dc043c649cc4fd255d85bde61e4
  67ea6df073f679fc7f0285088b0e9114 971a9d20a326a92caf32b538bb3ec144`;

/** The 48 bytes that both WRITEs carried. */
export const CAPTURED_WRITE_BODY: string = `
  01080f161d242b323940474e555c636a 71787f868d949ba2a9b0b7bec5ccd3da e1e8eff6fd040b121920272e353c434a`;

/** Segment descriptor, location and names as a real engine left them in etcd. */
export const CAPTURED_RECORDS = {
  name: '127.0.0.1:12346',
  descriptor:
    '{"buffers":[{"addr":140429324451840,"length":268435456,"name":"127.0.0.1:12346"}],"name":"127.0.0.1:12346","protocol":"tcp","tcp_data_port":15558,"tcp_proto_version":2,"timestamp":"2026-11-22 16:27:09.190695"}\n',
  location: '{"ip_or_host_name":"127.0.0.1","rpc_port":15159}\n',
} as const;

/** The descriptor that an engine without buffers sent over its handshake port. */
export const CAPTURED_EMPTY_DESCRIPTOR =
  '{"buffers":[],"name":"127.0.0.1:16366","protocol":"tcp","tcp_data_port":15153,"tcp_proto_version":2,"timestamp":"2026-11-22 16:26:17.435540"}\n';

/** Request for a descriptor and its reply on an RPC port, both whole; the request carries {@link CAPTURED_EMPTY_DESCRIPTOR}. */
export const CAPTURED_HANDSHAKE = {
  request: `
    8f00000000000000017b2262756666657273223a5b5d2c226e616d65223a223132372e302e302e313a3136333636222c
    2270726f746f636f6c223a22746370222c227463705f646174615f706f7274223a31353135332c227463705f70726f74
    6f5f76657273696f6e223a322c2274696d657374616d70223a22323032362d31312d32322031363a32363a31372e3433
    35353430227d0a`,
  reply: `
    cf00000000000000017b2262756666657273223a5b7b2261646472223a3134303335313731343737393133362c226c65
    6e677468223a36353533362c226e616d65223a223132372e302e302e313a3136393935227d5d2c226e616d65223a2231
    32372e302e302e313a3136393935222c2270726f746f636f6c223a22746370222c227463705f646174615f706f727422
    3a31363739312c227463705f70726f746f5f76657273696f6e223a322c2274696d657374616d70223a22323032362d31
    312d32322031363a32363a31372e343336393035227d0a`,
} as const;

/** Segment descriptor and location as a real engine, built with Redis, left them there. */
export const CAPTURED_REDIS_RECORDS = {
  name: 'srv:1',
  descriptor:
    '{"buffers":[{"addr":140676555325440,"length":65536,"name":"srv:1"}],"name":"srv:1","protocol":"tcp","tcp_data_port":15204,"tcp_proto_version":2,"timestamp":"2026-11-22 17:11:29.432282"}\n',
  location: '{"ip_or_host_name":"127.0.0.1","rpc_port":16861}\n',
} as const;
