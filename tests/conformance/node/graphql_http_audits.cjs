// Runs the audits of graphql-http against the address of a GraphQL server; prints the results as JSON.
const { auditServer } = require('graphql-http');

auditServer({ url: process.argv[2] }).then((results) => {
  const said = results.map(({ id, name, status, reason }) => ({ id, name, status, reason }));
  console.log(JSON.stringify(said));
});
