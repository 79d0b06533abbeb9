import { openEngine } from '../support/engines.ts';
import { describeTransport } from './transport.ts';

describeTransport('LocalTransport', { open: () => openEngine({ transports: ['local'] }) });
