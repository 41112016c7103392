// A fake of S3: s3rver, which keeps objects in a folder, behind a check of signatures (of version 4, which s3rver takes
// unseen) by the library aws4. No object storage that anybody runs.
//
// Prints {"port": N} once it listens on 127.0.0.1, and ends when its standard input does. Its one argument is JSON:
// {"folder": ..., "bucket": ..., "region": ...}. The only key is S3RVER with the secret S3RVER.
import { createHash } from 'node:crypto';
import { createServer, request as forward } from 'node:http';
import aws4 from 'aws4';
import S3rver from 's3rver';

const { folder, bucket, region } = JSON.parse(process.argv[2]);
const storage = new S3rver({
  address: '127.0.0.1',
  port: 0,
  silent: true,
  directory: folder,
  configureBuckets: [{ name: bucket }],
});
const behind = await storage.run();

const sha256 = (body, encoding) => createHash('sha256').update(body).digest(encoding);

function fault({ method, url, headers }, body) {
  const given = headers.authorization ?? '';
  const names = /SignedHeaders=([^,]*)/.exec(given)?.[1].split(';') ?? [];
  if (headers['x-amz-content-sha256'] !== sha256(body, 'hex')) return 'XAmzContentSHA256Mismatch';
  const checksum = headers['x-amz-checksum-sha256'];
  if (checksum !== undefined && checksum !== sha256(body, 'base64')) return 'BadDigest';
  const unsigned = Object.keys(headers).filter((name) => name.startsWith('x-amz-') && !names.includes(name));
  if (unsigned.length > 0 || !names.includes('host')) return 'AccessDenied';
  const signed = Object.fromEntries(names.map((name) => [name, headers[name]]));
  const signer = new aws4.RequestSigner(
    { service: 's3', region, method, path: url, headers: signed, body, doNotModifyHeaders: true },
    { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' },
  );
  signer.datetime = headers['x-amz-date'];
  const ours = signer.authHeader();
  const signature = (text) => /Signature=([0-9a-f]{64})/.exec(text)?.[1];
  return signature(given) === signature(ours) ? undefined : 'SignatureDoesNotMatch';
}

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const known = (request.headers.authorization ?? '').includes('Credential=S3RVER/');
  const code = known ? fault(request, body) : 'InvalidAccessKeyId';
  if (code !== undefined) {
    response.writeHead(403, { 'content-type': 'application/xml' });
    response.end(`<Error><Code>${code}</Code></Error>`);
    return;
  }
  const { method, url, headers } = request;
  const inner = forward({ host: '127.0.0.1', port: behind.port, method, path: url, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  inner.end(body);
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
process.stdin.resume().on('end', () => process.exit(0));
console.log(JSON.stringify({ port: server.address().port }));
