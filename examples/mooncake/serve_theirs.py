"""Registers a file with Mooncake's engine, as its Go store does, so that ours pulls it: serve_theirs.py ETCD NAME FILE."""

import base64, ctypes, json, sys, urllib.request  # noqa: E401
from mooncake.engine import TransferEngine

SHARD = 64 << 20
etcd, name, path = sys.argv[1:]
segment = "127.0.0.1:12398"
with open(path, "rb") as file:
    data = file.read()
memory = (ctypes.c_char * len(data)).from_buffer_copy(data)
address = ctypes.addressof(memory)
engine = TransferEngine()
assert engine.initialize(segment, etcd, "tcp", "") == 0
assert engine.register_memory(address, len(data)) == 0

shards = [
    {"size": min(SHARD, len(data) - at), "gold": [{"segment_name": segment, "offset": address + at}], "replica_list": None}
    for at in range(0, len(data), SHARD)
]
record = {"name": name, "size": len(data), "size_list": [len(data)], "max_shard_size": SHARD, "shards": shards}
pair = {"key": f"mooncake/checkpoint/{name}", "value": json.dumps(record)}
body = {field: base64.b64encode(text.encode()).decode() for field, text in pair.items()}
urllib.request.urlopen(f"http://{etcd}/v3/kv/put", json.dumps(body).encode())
print("serving", flush=True)
sys.stdin.read()
