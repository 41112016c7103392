import ast, sys
from pathlib import Path
root=Path(sys.argv[1])
mods={}
for t in ('engine','adapters','workbench'):
    for p in (root/t).rglob('*.py'):
        mods[p.relative_to(root).as_posix().removesuffix('.py').removesuffix('/__init__').replace('/','.')]=p
g={}
def stm(body):
    for n in body:
        yield n
        if isinstance(n,ast.If):
            if ast.unparse(n.test)!='TYPE_CHECKING': yield from stm(n.body)
            yield from stm(n.orelse)
        elif isinstance(n,(ast.Try,)): yield from stm(n.body)
for m,p in mods.items():
    out=set()
    for n in stm(ast.parse(p.read_text()).body):
        names=[]
        if isinstance(n,ast.ImportFrom) and n.module:
            for a in n.names: names.append(f"{n.module}.{a.name}" if f"{n.module}.{a.name}" in mods else n.module)
        elif isinstance(n,ast.Import): names=[a.name for a in n.names]
        for x in names:
            if x in mods and x!=m: out.add(x)
            while '.' in x:
                x=x.rpartition('.')[0]
                if x in mods and not m.startswith(x) : out.add(x)
    g[m]=out
sys.setrecursionlimit(10000)
idx={};low={};st=[];on=set();res=[]
def sc(v):
    idx[v]=low[v]=len(idx);st.append(v);on.add(v)
    for w in g[v]:
        if w not in idx: sc(w);low[v]=min(low[v],low[w])
        elif w in on: low[v]=min(low[v],idx[w])
    if low[v]==idx[v]:
        c=[]
        while True:
            w=st.pop();on.discard(w);c.append(w)
            if w==v:break
        if len(c)>1:res.append(c)
for v in sorted(g):
    if v not in idx: sc(v)
for c in res:
    print(len(c))
    for v in sorted(c): print('   ',v,'->',' '.join(sorted(g[v]&set(c))))
