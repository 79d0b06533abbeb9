import { openEngine } from '../support/engines.ts';
import { describeTransport } from './transport.ts';

describeTransport('TcpTransport', { open: () => openEngine() });
