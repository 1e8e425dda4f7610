import anndata as ad
import univerce as uc

## VIASH START
par = {"input": "dataset.h5ad", "output": "output.h5ad", "model": "uce-mini"}
meta = {"name": "uce"}
## VIASH END

dataset = ad.read_h5ad(par["input"])
method = uc.bench.method("UCE", model=par["model"])
output = uc.bench.embed_open_problems(dataset, method, method_id=meta["name"])
output.write_h5ad(par["output"], compression="gzip")
