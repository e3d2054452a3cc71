"""`kilter token`: a new token, and its line for the file of tokens."""

import click


@click.command("token")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(("score", "admin", "metrics")),
    multiple=True,
    required=True,
    help="What it may be used for; may be given several times.",
)
def token_command(name: str, scopes: tuple[str, ...]) -> None:
    """Make a token for NAME: the token on stderr, this once, and its line for the file on stdout.

    kilter token shop --scope score >> tokens; then kilter serve with KILTER_TOKENS_FILE=tokens. The file holds only the
    token's SHA-256. A server that runs takes up the change within seconds.
    """
    from kilter.service.protection.auth import new_secret, token_line
    from kilter.service.routing import Scope

    secret = new_secret()
    click.echo(token_line(name, [Scope(scope) for scope in scopes], secret))
    click.echo(f"The token, which is kept nowhere:\n{secret}", err=True)
