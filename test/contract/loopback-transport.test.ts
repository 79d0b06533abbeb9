import { openEngine } from '../support/engines.ts';
import { describeTransport } from './transport.ts';

describeTransport('LoopbackTransport', { open: () => openEngine({ transports: ['loopback'] }) });
