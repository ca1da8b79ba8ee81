"""The 62 operations of Harbor's API that its clients use most, which this registry answers all."""

from __future__ import annotations

REPOSITORY = "/projects/{project}/repositories/{repository}"
ARTIFACT = f"{REPOSITORY}/artifacts/{{reference}}"

FIRST = tuple(
    (method, path)
    for methods, path in (
        ("GET", "/ping"),
        ("GET", "/health"),
        ("GET", "/systeminfo"),
        ("GET", "/users/current"),
        ("GET", "/search"),
        ("GET", "/statistics"),
        ("GET POST HEAD", "/projects"),
        ("GET PUT DELETE", "/projects/{project}"),
        ("GET", "/projects/{project}/summary"),
        ("GET POST", "/projects/{project}/members"),
        ("GET PUT DELETE", "/projects/{project}/members/{mid}"),
        ("GET", "/repositories"),
        ("GET", "/projects/{project}/repositories"),
        ("GET PUT DELETE", REPOSITORY),
        ("GET POST", f"{REPOSITORY}/artifacts"),
        ("GET DELETE", ARTIFACT),
        ("GET POST", f"{ARTIFACT}/tags"),
        ("DELETE", f"{ARTIFACT}/tags/{{tag}}"),
        ("POST", f"{ARTIFACT}/scan"),
        ("GET", f"{ARTIFACT}/additions/vulnerabilities"),
        ("GET", f"{ARTIFACT}/accessories"),
        ("POST", f"{ARTIFACT}/labels"),
        ("GET POST", "/robots"),
        ("GET PUT PATCH DELETE", "/robots/{robot_id}"),
        ("GET POST", "/users"),
        ("GET PUT DELETE", "/users/{user_id}"),
        ("PUT", "/users/{user_id}/sysadmin"),
        ("PUT", "/users/{user_id}/password"),
        ("GET", "/quotas"),
        ("PUT", "/quotas/{quota_id}"),
        ("GET PUT", "/configurations"),
        ("POST", "/retentions"),
        ("GET PUT", "/retentions/{id}"),
        ("GET POST", "/projects/{project}/immutabletagrules"),
        ("DELETE", "/projects/{project}/immutabletagrules/{id}"),
        ("GET POST", "/registries"),
        ("GET PUT DELETE", "/registries/{id}"),
    )
    for method in methods.split()
)
