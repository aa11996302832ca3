// A scenario's arguments, and what it has to say: one JSON line each.

export const given = process.argv.slice(2).map((argument) => JSON.parse(argument));

// Standard output is for reports alone: what the SDK writes there goes elsewhere.
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);

export function report(values) {
  write(JSON.stringify(values) + "\n");
}
