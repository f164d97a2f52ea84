// One verifier of @sigstore/verify, kept warm. Usage: node sigstore_js.cjs TRUSTED_ROOT BUNDLE
// For each line with a number on stdin it verifies that often and prints the seconds.
const fs = require('node:fs');
const readline = require('node:readline');
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { toSignedEntity, toTrustMaterial, Verifier } = require('@sigstore/verify');

const [root, path] = process.argv.slice(2);
const trusted = TrustedRoot.fromJSON(JSON.parse(fs.readFileSync(root, 'utf8')));
const verifier = new Verifier(toTrustMaterial(trusted));
const data = fs.readFileSync(path, 'utf8');

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const began = process.hrtime.bigint();
  for (let count = Number(line); count > 0; count -= 1) {
    verifier.verify(toSignedEntity(bundleFromJSON(JSON.parse(data))));
  }
  console.log(Number(process.hrtime.bigint() - began) / 1e9);
});
