/** The two forms of `Follow` messages: what stores speak among themselves, and JSON for people and their tools. */
import { create, fromBinary, fromJsonString, type MessageInitShape, toBinary, toJsonString } from '@bufbuild/protobuf';
import {
  AvailabilitySchema,
  type FollowRequest,
  FollowRequestSchema,
  PeerService,
} from './gen/p2pstore/peer/v1/peer_pb.ts';

/** Where `Follow` is served, and nothing else. */
export const followPath: string = `/${PeerService.typeName}/${PeerService.method.follow.name}`;

export interface FollowCodec {
  readonly contentType: string;
  readonly decodeRequest: (message: Uint8Array) => FollowRequest;
  readonly encode: (message: MessageInitShape<typeof AvailabilitySchema>) => Uint8Array;
}

export const protoCodec: FollowCodec = {
  contentType: 'application/connect+proto',
  decodeRequest: (message) => fromBinary(FollowRequestSchema, message),
  encode: (message) => toBinary(AvailabilitySchema, create(AvailabilitySchema, message)),
};

export const jsonCodec: FollowCodec = {
  contentType: 'application/connect+json',
  decodeRequest: (message) => fromJsonString(FollowRequestSchema, Buffer.from(message).toString()),
  encode: (message) => Buffer.from(toJsonString(AvailabilitySchema, create(AvailabilitySchema, message))),
};
