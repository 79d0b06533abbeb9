import { describeTransport } from '../contract/transport.ts';
import { openEngine } from '../support/engines.ts';

describeTransport('RdmaTransport', { open: () => openEngine({ transports: ['loopback', 'rdma'] }), shrink: 16 });
