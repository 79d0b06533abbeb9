/** Serves BYTES of touched memory to transfer engines of both kinds, until its standard input ends. */
import { allocate, TransferEngine } from '../../src/index.ts';
import { announce, answerLines } from '../support/child.ts';

const [sizeBytes, metadata, segmentName] = [Number(process.argv[2]), process.argv[3] ?? '', process.argv[4] ?? ''];
const region = allocate(sizeBytes);
region.view().fill(1);
const engine = await TransferEngine.open({ metadata, segmentName, host: '127.0.0.1', transports: ['tcp'] });
await engine.registerLocalMemory(region.address, sizeBytes, '*', { remoteAccess: 'read-write' });
announce({ ready: true });
await answerLines(async () => ({}));
await engine.close();
await region.close();
