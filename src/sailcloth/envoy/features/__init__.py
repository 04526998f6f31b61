"""One package per Istio feature. Each implements some hooks (`route`, `cluster`) that set their own fields and no others;
`pipeline` lists them. Features never import each other."""
